//! From a command as a user writes it to a program that can run behind the walls.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::launch::PATH;
use crate::containment::brief;

/// A program and what it must be able to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) program: PathBuf,
    pub(crate) read: Vec<PathBuf>,
}

/// Finds `name` as a shell would. A Python interpreter is asked for its real executable and its
/// library tree, since the name often leads to a version manager's script or into a home directory.
/// It is asked without its `site` module, so that no installed package runs outside the walls.
pub(crate) fn resolve(name: &str) -> io::Result<Resolved> {
    let program = find(name)?;
    let file_name = program.file_name().unwrap_or_default().to_string_lossy();
    if file_name.starts_with("python") {
        return ask_python(&program);
    }
    let real = program.canonicalize()?;
    Ok(Resolved {
        program,
        read: vec![real],
    })
}

/// Finds `name` in an image, without running anything of it, and lets it read the whole image but
/// `private` and the kernel's own trees.
pub(crate) fn resolve_in_image(name: &str, private: &[PathBuf]) -> io::Result<Resolved> {
    let program = find_in(name, PATH.as_ref())?;
    let kernel = ["/proc", "/sys", "/dev", "/run"].map(PathBuf::from);
    let mut read = Vec::new();
    for entry in std::fs::read_dir("/")? {
        let path = entry?.path();
        let is_ours = private.iter().any(|ours| ours.starts_with(&path));
        if !is_ours && !kernel.contains(&path) {
            read.push(path);
        }
    }
    read.sort();
    Ok(Resolved { program, read })
}

fn find(name: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    find_in(name, &path)
}

fn find_in(name: &str, path: &OsStr) -> io::Result<PathBuf> {
    let not_found = |why: &str| io::Error::new(io::ErrorKind::NotFound, format!("{name}: {why}"));
    if name.contains('/') {
        let path = std::path::absolute(name)?;
        return if is_executable(&path) {
            Ok(path)
        } else {
            Err(not_found("must be an executable file"))
        };
    }
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|path| is_executable(path))
        .ok_or_else(|| not_found("must be in a directory of PATH"))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn ask_python(program: &Path) -> io::Result<Resolved> {
    let question =
        "import sys; print(sys.executable, sys.base_prefix, sys.base_exec_prefix, sep='\\n')";
    let (status, text) = brief::run(Command::new(program).args(["-I", "-S", "-c", question]))?;
    let lines: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
    let [executable, prefix, exec_prefix] = lines.as_slice() else {
        return Err(io::Error::other(format!(
            "{}: must be a working Python 3 ({status})",
            program.display()
        )));
    };
    let mut read = vec![
        executable.canonicalize()?,
        prefix.clone(),
        exec_prefix.clone(),
    ];
    // A virtual environment: its packages lie beside its configuration.
    if let Some(root) = executable.parent().and_then(Path::parent)
        && root.join("pyvenv.cfg").is_file()
    {
        read.push(root.to_owned());
    }
    read.sort();
    read.dedup();
    Ok(Resolved {
        program: executable.clone(),
        read,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_is_looked_up_and_a_path_is_not() {
        assert!(find("sh").unwrap().is_absolute());
        assert!(find("no-such-program-here").is_err());
        assert!(find("/etc/passwd").is_err());
    }

    #[test]
    fn python_names_its_tree() {
        let resolved = resolve("python3").unwrap();
        assert!(resolved.program.is_absolute());
        assert!(resolved.read.iter().all(|path| path.is_absolute()));
    }
}

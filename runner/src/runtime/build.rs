//! From a task's runtime to something that runs branches, with what confines it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_hive_core::constitution::{RuntimeKind, RuntimePolicy};
use axiom_hive_core::record::{ContainmentLevel, ContainmentRecord, ContainmentRequest};
use axiom_hive_core::task::{ProcessProtocol, RuntimeSpec};
use tempfile::TempDir;

use super::echo::Echo;
use super::http::{ApiKey, HttpService, OpenAi};
use super::model::{BoxFuture, BranchFailure, BranchReply, BranchRequest, UntrustedRuntime};
use super::process::{Launch, NdjsonProcess, TextProcess, resolve, resolve_in_image};
use super::python;
use crate::containment::{Confinement, system_trees};

/// Program and arguments of a command.
const MAX_COMMAND_ITEMS: usize = 64;
/// Variables of a task's environment.
const MAX_ENV_ITEMS: usize = 64;
/// One item of a command or of an environment, in bytes.
const MAX_ITEM_BYTES: usize = 4096;

/// Why a runtime cannot be had. Nothing of it has run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The constitution does not allow this kind; exit code 2.
    #[error("[runtime] kinds: must list {0:?} for this task to run")]
    NotAllowed(RuntimeKind),
    /// The task's own words are not usable; exit code 1.
    #[error("{what}: {must}")]
    Invalid {
        /// Which part of the task.
        what: String,
        /// What must hold.
        must: String,
    },
    /// The program cannot be found or run; exit code 3.
    #[error("runtime program: {0}")]
    Program(#[source] io::Error),
    /// The TLS client cannot be set up; exit code 3.
    #[error("TLS: {0}")]
    Tls(String),
    /// Containment is required and cannot be had; exit code 6.
    #[error("containment is required and must be strict, but is {reached:?}: {why}")]
    Containment {
        /// What was reached.
        reached: ContainmentLevel,
        /// Each wall that is missing.
        why: String,
    },
}

/// What the caller adds to task and constitution.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// How much containment a process must have.
    pub containment: ContainmentRequest,
    /// An executable whose `main` begins with [`crate::containment::shim_main_if_requested`].
    pub shim: PathBuf,
    /// Files and trees that a contained process may read and execute, beside the system's programs
    /// and the program itself; absolute.
    pub read_paths: Vec<PathBuf>,
    /// Trees that must stay unreadable (ledger, keys): a readable path that covers one or lies in
    /// one is refused, because Landlock cannot take a part out of an allowed tree.
    pub private_paths: Vec<PathBuf>,
    /// The loopback port of the egress broker, where one serves the runtime: its only way out.
    pub broker_port: Option<u16>,
    /// Whose files the runtime's program lies among.
    pub place: Place,
    /// Sent as a bearer token to an OpenAI-compatible endpoint.
    pub api_key: Option<ApiKey>,
}

impl Default for RuntimeOptions {
    /// Containment required, this very executable as the shim, nothing else.
    fn default() -> Self {
        Self {
            containment: ContainmentRequest::Required,
            // The running image, even when the file was replaced since.
            shim: PathBuf::from("/proc/self/exe"),
            read_paths: Vec::new(),
            private_paths: Vec::new(),
            broker_port: None,
            place: Place::Machine,
            api_key: None,
        }
    }
}

/// Whose files a runtime's program lies among.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The user's machine: the program is looked for, and may read the system's programs and itself.
    Machine,
    /// An image of the runtime's own: it may read all of it. Nothing of the image runs or is opened
    /// before the walls are up.
    Image {
        /// The one directory that can be written.
        scratch: PathBuf,
    },
}

/// A runtime that is ready, and what confines it.
#[derive(Clone)]
pub struct BuiltRuntime {
    /// Runs branches; clones share it.
    pub runtime: Arc<dyn UntrustedRuntime>,
    /// For the record.
    pub containment: ContainmentRecord,
    /// Walls that are missing, in words; empty unless containment is `best-effort` and not strict.
    pub missing_walls: Vec<String>,
}

/// Checks a task's runtime against the constitution, finds its program, and proves its containment.
///
/// Blocks for some milliseconds (files, the probe, asking a Python interpreter for its library
/// tree); nothing of the runtime's own code has run when it returns.
pub fn build(
    spec: &RuntimeSpec,
    policy: &RuntimePolicy,
    options: &RuntimeOptions,
) -> Result<BuiltRuntime, RuntimeError> {
    if !policy.kinds.contains(&spec.kind()) {
        return Err(RuntimeError::NotAllowed(spec.kind()));
    }
    let runtime: Arc<dyn UntrustedRuntime> = match spec {
        RuntimeSpec::Process {
            protocol,
            command,
            env,
            image: _,
        } => return build_process(*protocol, command, env, policy, options),
        RuntimeSpec::Http { url } => Arc::new(HttpService::new(url, options.broker_port)?),
        RuntimeSpec::OpenAi { .. } => {
            let key = options.api_key.clone();
            Arc::new(OpenAi::new(spec, key, options.broker_port)?)
        }
        RuntimeSpec::Echo => Arc::new(Echo),
    };
    Ok(BuiltRuntime {
        runtime,
        containment: ContainmentRecord {
            requested: options.containment,
            reached: ContainmentLevel::NotApplicable,
            landlock_abi: 0,
            loopback_port: 0,
        },
        missing_walls: Vec::new(),
    })
}

fn build_process(
    protocol: ProcessProtocol,
    command: &[String],
    env: &BTreeMap<String, String>,
    policy: &RuntimePolicy,
    options: &RuntimeOptions,
) -> Result<BuiltRuntime, RuntimeError> {
    check_command(command)?;
    check_env(env)?;
    let (name, args) = command.split_first().ok_or_else(no_program)?;
    let (resolved, scratch) = match &options.place {
        Place::Machine => (resolve(name), std::env::temp_dir()),
        Place::Image { scratch } => (
            resolve_in_image(name, &options.private_paths),
            scratch.clone(),
        ),
    };
    let resolved = resolved.map_err(RuntimeError::Program)?;
    let mut env = env.clone();
    let mut read = resolved.read;
    read.extend(options.read_paths.iter().cloned());
    let mut package = None;
    let is_default = options.place == Place::Machine && python::is_default(command);
    if is_default && !env.contains_key("PYTHONPATH") {
        let dir = python::unpack().map_err(RuntimeError::Program)?;
        env.insert(
            "PYTHONPATH".into(),
            dir.path().to_string_lossy().into_owned(),
        );
        read.push(dir.path().to_owned());
        package = Some(dir);
    }
    let port = options.broker_port.or(policy.loopback_port);
    env.extend(options.broker_port.into_iter().flat_map(proxy_variables));
    let mut containment = ContainmentRecord {
        requested: options.containment,
        reached: ContainmentLevel::None,
        landlock_abi: 0,
        loopback_port: 0,
    };
    let mut missing_walls = Vec::new();
    let confinement = if options.containment == ContainmentRequest::Off {
        None
    } else {
        // An image has no home directory of anybody.
        let home = std::env::home_dir().filter(|_| options.place == Place::Machine);
        check_private(&read, &options.private_paths, home.as_deref())?;
        let required = options.containment == ContainmentRequest::Required;
        let confinement = Confinement::new(options.shim.clone(), required, policy, port, read);
        missing_walls = prove(&confinement, required, port, &scratch, &mut containment)?;
        Some(confinement)
    };
    let launch = Launch::new(resolved.program, args.to_vec(), env, scratch, confinement);
    let inner: Box<dyn UntrustedRuntime> = match protocol {
        ProcessProtocol::Text => Box::new(TextProcess::new(launch)),
        ProcessProtocol::Ndjson => Box::new(NdjsonProcess::new(launch)),
    };
    Ok(BuiltRuntime {
        runtime: Arc::new(WithPackage {
            inner,
            _package: package,
        }),
        containment,
        missing_walls,
    })
}

/// What tells a program where its proxy is; both spellings are in use, and both are obeyed.
fn proxy_variables(port: u16) -> impl Iterator<Item = (String, String)> {
    let names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
    names
        .into_iter()
        .map(move |name| (name.to_owned(), format!("http://127.0.0.1:{port}")))
}

/// Runs the probe, writes what was reached, and refuses less than was required.
fn prove(
    confinement: &Confinement,
    required: bool,
    port: Option<u16>,
    scratch: &Path,
    record: &mut ContainmentRecord,
) -> Result<Vec<String>, RuntimeError> {
    let refused = |reached, why| Err(RuntimeError::Containment { reached, why });
    match confinement.probe(scratch) {
        Ok(reached) if required && reached.level != ContainmentLevel::Strict => {
            refused(reached.level, reached.missing.join("; "))
        }
        Ok(reached) => {
            record.reached = reached.level;
            record.landlock_abi = reached.landlock_abi;
            record.loopback_port = port.unwrap_or(0);
            Ok(reached.missing)
        }
        Err(e) => refused(ContainmentLevel::None, format!("the probe failed: {e}")),
    }
}

/// Keeps the unpacked package as long as processes that read it.
struct WithPackage {
    inner: Box<dyn UntrustedRuntime>,
    _package: Option<TempDir>,
}

impl UntrustedRuntime for WithPackage {
    fn answer<'a>(
        &'a self,
        request: &'a BranchRequest,
    ) -> BoxFuture<'a, Result<BranchReply, BranchFailure>> {
        self.inner.answer(request)
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.inner.shutdown()
    }
}

fn invalid(what: impl Into<String>, must: impl Into<String>) -> RuntimeError {
    RuntimeError::Invalid {
        what: what.into(),
        must: must.into(),
    }
}

fn no_program() -> RuntimeError {
    invalid("runtime.command", "must begin with a program")
}

fn check_command(command: &[String]) -> Result<(), RuntimeError> {
    if command.first().is_none_or(String::is_empty) {
        return Err(no_program());
    }
    if command.len() > MAX_COMMAND_ITEMS {
        let must = format!("must have at most {MAX_COMMAND_ITEMS} items");
        return Err(invalid("runtime.command", must));
    }
    for (index, item) in command.iter().enumerate() {
        check_item(&format!("runtime.command[{index}]"), item)?;
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), RuntimeError> {
    if env.len() > MAX_ENV_ITEMS {
        let must = format!("must have at most {MAX_ENV_ITEMS} variables");
        return Err(invalid("runtime.env", must));
    }
    for (name, value) in env {
        let what = format!("runtime.env.{name}");
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(letters) || name.starts_with("AXIOM_HIVE_") {
            let must = "name must be letters, digits and _, and not begin with AXIOM_HIVE_";
            return Err(invalid(what, must));
        }
        check_item(&what, name)?;
        check_item(&what, value)?;
    }
    Ok(())
}

fn check_item(what: &str, item: &str) -> Result<(), RuntimeError> {
    if item.len() > MAX_ITEM_BYTES || item.contains('\0') {
        let must = format!("must be at most {MAX_ITEM_BYTES} bytes, without NUL");
        return Err(invalid(what, must));
    }
    Ok(())
}

/// No readable path may cover a private one, lie in one, or be the root or a home directory.
fn check_private(
    read: &[PathBuf],
    private: &[PathBuf],
    home: Option<&Path>,
) -> Result<(), RuntimeError> {
    let home = home.map(real);
    for given in read {
        let path = real(given);
        if !given.is_absolute() || path.parent().is_none() || Some(&path) == home.as_ref() {
            let must = "must be absolute, and neither the root nor the home directory";
            return Err(invalid(format!("readable path {}", path.display()), must));
        }
    }
    let readable: Vec<PathBuf> = read
        .iter()
        .map(|path| real(path))
        .chain(system_trees().map(real))
        .collect();
    for private in private {
        let private = real(private);
        if let Some(path) = readable
            .iter()
            .find(|path| path.starts_with(&private) || private.starts_with(path))
        {
            let must = format!(
                "must not overlap with {}, which stays private",
                private.display()
            );
            return Err(invalid(format!("readable path {}", path.display()), must));
        }
    }
    Ok(())
}

/// Absolute and without symbolic links, also for a path whose end does not exist yet.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            // Joining an empty rest would add a slash, which is no difference to `starts_with`.
            return real.join(rest);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_trees_stay_private() {
        let path = |text: &str| vec![PathBuf::from(text)];
        assert!(check_private(&path("/a/b"), &path("/a/c"), None).is_ok());
        for (read, private) in [
            ("/a/b", "/a/b/c"),
            ("/a/b/c", "/a/b"),
            ("/a/b", "/a/b"),
            ("/a", "/usr/share/ledger"),
            ("/", "/x"),
            ("relative", "/x"),
        ] {
            assert!(
                check_private(&path(read), &path(private), None).is_err(),
                "{read} {private}"
            );
        }
    }

    #[test]
    fn a_private_tree_may_not_exist_yet() {
        let here = std::env::current_dir().unwrap_or_default();
        let ledger = [PathBuf::from("no-such-dir/ledger")];
        assert!(check_private(std::slice::from_ref(&here), &ledger, None).is_err());
        assert!(check_private(&[here.join("elsewhere")], &ledger, None).is_ok());
    }

    #[test]
    fn names_and_items_are_bounded() {
        let env = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(check_env(&env("A_1", "x")).is_ok());
        for (name, value) in [
            ("", "x"),
            ("A=B", "x"),
            ("AXIOM_HIVE_SEED", "1"),
            ("A", "\0"),
        ] {
            assert!(check_env(&env(name, value)).is_err(), "{name}");
        }
        assert!(check_command(&[]).is_err());
        assert!(check_command(&vec!["x".to_owned(); MAX_COMMAND_ITEMS]).is_ok());
        assert!(check_command(&vec!["x".to_owned(); MAX_COMMAND_ITEMS + 1]).is_err());
        assert!(check_command(&["x".repeat(MAX_ITEM_BYTES + 1)]).is_err());
    }
}

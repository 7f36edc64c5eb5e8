//! The one door between the ledger and a disk.
//!
//! Every file access of the engine goes through [`Storage`], so that the same code runs on a
//! directory ([`Disk`]) and in memory ([`Memory`], for tests that need a hundred thousand ledgers
//! or a disk that fails).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::FlockOperation;

/// Files under one root, by relative path (`log/00000000000000000000`).
pub trait Storage: Send + Sync {
    /// Names in a folder (`""` is the root), sorted; folders end with `/`. A missing folder is empty.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// A whole file; `None` when there is none.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// A file's length in bytes; `None` when there is none.
    fn length(&self, path: &str) -> io::Result<Option<u64>>;
    /// Exactly `length` bytes from `offset`.
    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Overwrites bytes of an existing file in place; not durable until [`Storage::sync`].
    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's bytes and length durable (`fdatasync`).
    fn sync(&self, path: &str) -> io::Result<()>;
    /// Cuts a file to `length` bytes, durably.
    fn truncate(&self, path: &str, length: u64) -> io::Result<()>;
    /// Makes or replaces a file in one step (temporary file, rename), with its folders. With
    /// `durable`, file and folder entries are on the disk when this returns.
    fn replace(&self, path: &str, bytes: &[u8], durable: bool) -> io::Result<()>;
    /// Takes the exclusive lock on a file, made when missing with its folders; `None` while another
    /// holder, in this process or another, has it.
    fn try_lock(&self, path: &str) -> io::Result<Option<Lock>>;
}

/// Held until it is dropped.
pub struct Lock {
    _held: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

/// How a file that is being written is called until it is renamed.
const TEMPORARY: &str = ".tmp";

/// A directory.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    /// Permission bits of new files.
    mode: u32,
    /// Files written to lately: an append opens nothing.
    handles: Mutex<Vec<(String, Arc<File>)>>,
}

/// Files kept open: the active segment, two heads, two pins.
const MAX_HANDLES: usize = 6;

impl Disk {
    /// The files under `root`, which need not exist. New files get the permission bits `mode`,
    /// less the umask.
    #[must_use]
    pub fn new(root: &Path, mode: u32) -> Self {
        Self {
            root: root.to_owned(),
            mode,
            handles: Mutex::default(),
        }
    }

    /// Who may read files may also enter folders: 0600 makes 0700, 0644 makes 0755.
    fn folder_mode(&self) -> u32 {
        self.mode | (self.mode & 0o444) >> 2
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The file, open for reading and writing.
    fn writable(&self, path: &str) -> io::Result<Arc<File>> {
        let mut handles = lock(&self.handles);
        if let Some((_, file)) = handles.iter().find(|(name, _)| name == path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.path(path))?,
        );
        if handles.len() == MAX_HANDLES {
            handles.remove(0);
        }
        handles.push((path.to_owned(), Arc::clone(&file)));
        Ok(file)
    }
}

/// Makes a folder and those above it, each durable in its parent. The empty path is the current
/// directory.
fn make_folders(folder: &Path, mode: u32) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folders(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    folder.parent().map_or(Ok(()), sync_folder)
}

/// Makes the entries of a folder durable. The empty path is the current directory.
fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

/// What a file is made of, in bytes: 4 KiB.
const BLOCK_BYTES: usize = 4096;

/// Fills an empty file. Blocks of nothing but zeros become holes, so that what is erased takes no room.
fn write_sparse(file: &File, bytes: &[u8]) -> io::Result<()> {
    for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, (number * BLOCK_BYTES) as u64)?;
        }
    }
    file.set_len(bytes.len() as u64)
}

fn none_if_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Storage for Disk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in none_if_missing(fs::read_dir(self.path(folder)))?
            .into_iter()
            .flatten()
        {
            let entry = entry?;
            let mut name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                name.push('/');
            }
            names.push(name);
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        none_if_missing(fs::read(self.path(path)))
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        let metadata = none_if_missing(fs::metadata(self.path(path)))?;
        Ok(metadata.map(|metadata| metadata.len()))
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        File::open(self.path(path))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable(path)?.write_all_at(bytes, offset)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        self.writable(path)?.sync_data()
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        let file = self.writable(path)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn replace(&self, path: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
        let target = self.path(path);
        let folder = target.parent().unwrap_or(Path::new(""));
        make_folders(folder, self.folder_mode())?;
        let temporary = self.path(&format!("{path}{TEMPORARY}"));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(self.mode)
            .open(&temporary)?;
        write_sparse(&file, bytes)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, &target)?;
        lock(&self.handles).retain(|(name, _)| name != path);
        if durable {
            sync_folder(folder)?;
        }
        Ok(())
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Lock>> {
        let path = self.path(path);
        make_folders(path.parent().unwrap_or(Path::new("")), self.folder_mode())?;
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(self.mode)
            .open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock {
                _held: Box::new(file),
            })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Files in memory, with switches to fail as a disk fails. Clones share the files.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes that may still be written; `None`: no limit.
    space: Option<usize>,
    fail_sync: bool,
    locked: BTreeSet<String>,
}

/// A lock in memory.
struct MemoryLock {
    memory: Memory,
    path: String,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        lock(&self.memory.0).locked.remove(&self.path);
    }
}

impl Memory {
    /// Every file by path: a copy.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.0).files.clone()
    }

    /// A storage with these files.
    #[must_use]
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            files,
            ..Inner::default()
        })))
    }

    /// Changes one file in place; makes it when it is missing.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(lock(&self.0).files.entry(path.to_owned()).or_default());
    }

    /// Removes one file.
    pub fn remove(&self, path: &str) {
        lock(&self.0).files.remove(path);
    }

    /// From now on, writing more than `space` bytes fails half-way with "no space left".
    pub fn set_space(&self, space: Option<usize>) {
        lock(&self.0).space = space;
    }

    /// From now on, every sync fails.
    pub fn set_fail_sync(&self, fail: bool) {
        lock(&self.0).fail_sync = fail;
    }
}

impl Inner {
    fn file(&mut self, path: &str) -> io::Result<&mut Vec<u8>> {
        self.files
            .get_mut(path)
            .ok_or_else(|| io::Error::from(ErrorKind::NotFound))
    }

    fn synced(&self) -> io::Result<()> {
        if self.fail_sync {
            return Err(io::Error::other("simulated input/output error"));
        }
        Ok(())
    }
}

impl Storage for Memory {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let inner = lock(&self.0);
        let mut names: Vec<String> = inner
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix))
            .map(|rest| rest.split_inclusive('/').next().unwrap_or(rest).to_owned())
            .collect();
        names.dedup();
        Ok(names)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(lock(&self.0).files.get(path).cloned())
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        Ok(lock(&self.0).files.get(path).map(|file| file.len() as u64))
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut inner = lock(&self.0);
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = inner.file(path)?.get(start..).and_then(|r| r.get(..length));
        found
            .map(<[u8]>::to_vec)
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = lock(&self.0);
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let length = inner.file(path)?.len();
        let grows = (start + bytes.len()).saturating_sub(length);
        let space = inner.space.unwrap_or(usize::MAX);
        let fits = bytes.len() - grows.saturating_sub(space);
        inner.space = inner.space.map(|space| space.saturating_sub(grows));
        let file = inner.file(path)?;
        file.resize(length.max(start + fits), 0);
        file[start..start + fits].copy_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&self, _path: &str) -> io::Result<()> {
        lock(&self.0).synced()
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        let mut inner = lock(&self.0);
        let length = usize::try_from(length).map_err(io::Error::other)?;
        inner.file(path)?.truncate(length);
        inner.synced()
    }

    fn replace(&self, path: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
        let mut inner = lock(&self.0);
        if inner.space.is_some_and(|space| space < bytes.len()) {
            return Err(ErrorKind::StorageFull.into());
        }
        inner.files.insert(path.to_owned(), bytes.to_vec());
        if durable { inner.synced() } else { Ok(()) }
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Lock>> {
        let is_free = lock(&self.0).locked.insert(path.to_owned());
        Ok(is_free.then(|| Lock {
            _held: Box::new(MemoryLock {
                memory: self.clone(),
                path: path.to_owned(),
            }),
        }))
    }
}

/// A panic while the lock was held leaves whole values behind: every change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A disk that is written down operation by operation, and what of it a power loss may leave.
//!
//! The model is that of POSIX, not of one file system:
//!
//! - what was written to a file since its last sync survives in any combination of its pieces, and the
//!   file's length may have grown with or without them (then they are zero);
//! - a head lies in one sector: it is there as any of the versions since, but never mixed;
//! - a cut of a file that is not synced may be undone;
//! - a file that was renamed is there under its new name only once the folder is synced; before, it may
//!   be there under either name, or not at all. Its bytes are whole only if it was synced before.
//!
//! Not modelled: folders (an empty one is like none), and bytes of other files in blocks that were
//! never written (the log's checksums are salted against that).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use axiom_hive_runner::ledger::storage::{Lock, Memory, Storage};

/// Files by path. The path begins with `dir/` or `keys/`.
pub(super) type Files = BTreeMap<String, Arc<Vec<u8>>>;

/// One step towards the disk.
#[derive(Debug, Clone, Hash)]
pub(super) enum Op {
    Write(String, usize, Arc<Vec<u8>>),
    Truncate(String, usize),
    Sync(String),
    /// A temporary file beside this one is made and written.
    Stage(String, Arc<Vec<u8>>),
    SyncStaged(String),
    Rename(String),
    /// The folder of this file is synced.
    SyncFolder(String),
    /// This many steps of the script are begun.
    Started(usize),
    /// This many steps of the script are acknowledged.
    Acknowledged(usize),
}

impl Op {
    /// For messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Write(path, offset, bytes) => format!("write {path} {offset} {}", bytes.len()),
            Self::Stage(path, bytes) => format!("write {path}.tmp {}", bytes.len()),
            other => format!("{other:?}"),
        }
    }
}

pub(super) type Journal = Arc<Mutex<Vec<Op>>>;

/// One of the two storages of a ledger, in memory, which writes down what it does.
pub(super) struct Journaled {
    pub(super) memory: Memory,
    pub(super) prefix: &'static str,
    pub(super) journal: Journal,
}

impl Journaled {
    fn note(&self, path: &str, op: impl FnOnce(String) -> Op) {
        let op = op(format!("{}/{path}", self.prefix));
        self.journal.lock().unwrap().push(op);
    }
}

impl Storage for Journaled {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.memory.list(folder)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.memory.read(path)
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        self.memory.length(path)
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.memory.read_at(path, offset, length)
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.note(path, |path| Op::Write(path, at, Arc::new(bytes.to_vec())));
        self.memory.write_at(path, offset, bytes)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        self.note(path, Op::Sync);
        self.memory.sync(path)
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        let at = usize::try_from(length).unwrap();
        self.note(path, |path| Op::Truncate(path, at));
        self.note(path, Op::Sync);
        self.memory.truncate(path, length)
    }

    fn replace(&self, path: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
        self.note(path, |path| Op::Stage(path, Arc::new(bytes.to_vec())));
        if durable {
            self.note(path, Op::SyncStaged);
        }
        self.note(path, Op::Rename);
        if durable {
            self.note(path, Op::SyncFolder);
        }
        // What an interrupted replacement left is renamed away.
        self.memory.remove(&format!("{path}.tmp"));
        self.memory.replace(path, bytes, durable)
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Lock>> {
        self.memory.try_lock(path)
    }
}

/// What is on its way to the disk.
#[derive(Debug, Clone, Hash)]
enum Pending {
    Write(String, usize, Arc<Vec<u8>>),
    Truncate(String, usize),
    /// The bytes of the new file, one version for each time that they changed.
    Replace {
        path: String,
        versions: Vec<Arc<Vec<u8>>>,
        is_synced: bool,
        is_renamed: bool,
    },
}

impl Pending {
    fn path(&self) -> &str {
        let (Self::Write(path, ..) | Self::Truncate(path, _) | Self::Replace { path, .. }) = self;
        path
    }

    /// Whether it changes these bytes of its file.
    fn reaches(&self, from: usize, to: usize) -> bool {
        match self {
            Self::Write(_, offset, bytes) => *offset < to && from < offset + bytes.len(),
            Self::Truncate(..) | Self::Replace { .. } => true,
        }
    }
}

/// What is on the disk for sure, and what is on its way to it.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Disk {
    durable: Files,
    pending: Vec<Pending>,
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn temporary(path: &str) -> String {
    format!("{path}.tmp")
}

impl Disk {
    pub(super) fn new(durable: Files) -> Self {
        Self {
            durable,
            pending: Vec::new(),
        }
    }

    /// Takes in one operation.
    pub(super) fn step(&mut self, op: &Op) {
        match op {
            Op::Write(path, offset, bytes) => self.write(path, *offset, bytes),
            Op::Truncate(path, length) => {
                self.pending.push(Pending::Truncate(path.clone(), *length));
            }
            Op::Sync(path) => self.sync(path),
            Op::Stage(path, bytes) => self.pending.push(Pending::Replace {
                path: path.clone(),
                versions: vec![Arc::clone(bytes)],
                is_synced: false,
                is_renamed: false,
            }),
            Op::SyncStaged(path) => self.staged(path, |is_synced, _| *is_synced = true),
            Op::Rename(path) => self.staged(path, |_, is_renamed| *is_renamed = true),
            Op::SyncFolder(path) => self.sync_folder(folder(path)),
            Op::Started(_) | Op::Acknowledged(_) => {}
        }
    }

    fn write(&mut self, path: &str, offset: usize, bytes: &Arc<Vec<u8>>) {
        // A file that may not have its name yet: its versions say what it may hold.
        let replaced = self
            .pending
            .iter_mut()
            .rev()
            .find_map(|pending| match pending {
                Pending::Replace {
                    path: p,
                    versions,
                    is_renamed: true,
                    ..
                } if p == path => Some(versions),
                _ => None,
            });
        if let Some(versions) = replaced {
            let mut next = versions.last().unwrap().to_vec();
            put(&mut next, offset, bytes);
            versions.push(Arc::new(next));
        } else {
            let write = Pending::Write(path.to_owned(), offset, Arc::clone(bytes));
            self.pending.push(write);
        }
    }

    fn staged(&mut self, path: &str, change: impl FnOnce(&mut bool, &mut bool)) {
        let last = self
            .pending
            .iter_mut()
            .rev()
            .find_map(|pending| match pending {
                Pending::Replace {
                    path: p,
                    is_synced,
                    is_renamed,
                    ..
                } if p == path => Some((is_synced, is_renamed)),
                _ => None,
            });
        let (is_synced, is_renamed) = last.unwrap();
        change(is_synced, is_renamed);
    }

    fn sync(&mut self, path: &str) {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Write(p, offset, bytes) if p == path => {
                    put(
                        Arc::make_mut(self.durable.get_mut(path).unwrap()),
                        offset,
                        &bytes,
                    );
                }
                Pending::Truncate(p, length) if p == path => {
                    Arc::make_mut(self.durable.get_mut(path).unwrap()).truncate(length);
                }
                other => self.pending.push(other),
            }
        }
    }

    fn sync_folder(&mut self, name: &str) {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Replace {
                    path,
                    versions,
                    is_synced,
                    is_renamed: true,
                } if folder(&path) == name => {
                    assert!(is_synced, "a name is made durable before its bytes: {path}");
                    self.pending.retain(|other| other.path() != path);
                    self.durable.remove(&temporary(&path));
                    self.durable
                        .insert(path, Arc::clone(versions.last().unwrap()));
                }
                other => self.pending.push(other),
            }
        }
    }

    /// The choices that a power loss has now.
    pub(super) fn choices(&self) -> Choices {
        let mut choices = Choices {
            dims: Vec::new(),
            pending: self.pending.clone(),
        };
        for (number, pending) in self.pending.iter().enumerate() {
            choices.add(number, pending, &self.durable);
        }
        choices
    }

    /// The files that cannot change any more, and those that can.
    pub(super) fn split(&self) -> (Files, Files) {
        let is_touched = |path: &String| {
            let path = path.strip_suffix(".tmp").unwrap_or(path);
            self.pending.iter().any(|pending| pending.path() == path)
        };
        let files = self.durable.clone().into_iter();
        files.partition(|(path, _)| !is_touched(path))
    }
}

/// One thing that may go one way or another. The first way is always that nothing reached the disk,
/// the last that everything did.
#[derive(Debug, Clone)]
enum Dim {
    /// A piece of a write: from and to, in the write.
    Piece(usize, usize, usize),
    /// How far a write made the file grow, whatever of its pieces survived: to these places in the write.
    Growth(usize, Vec<usize>),
    /// Which of these whole overwrites of one sector is there.
    Versions(Vec<usize>),
    Truncate(usize),
    /// Nothing, the temporary file, or the new one in one of so many forms.
    Replace(usize, usize),
}

/// Everything that a power loss may decide, and how.
#[derive(Debug, Clone)]
pub(super) struct Choices {
    dims: Vec<Dim>,
    pending: Vec<Pending>,
}

/// Forms of a file that got its name before its bytes: empty, all zero, cut in half.
const TORN_FORMS: usize = 3;

impl Choices {
    fn add(&mut self, number: usize, pending: &Pending, durable: &Files) {
        match pending {
            Pending::Write(path, offset, bytes) if path.starts_with("dir/log/") => {
                let borders = borders(*offset, bytes);
                let is_written = |from, to| {
                    let others = self.pending[..number].iter();
                    let mut others = others.filter(|other| other.path() == path);
                    others.any(|other| other.reaches(offset + from, offset + to))
                };
                let there = durable.get(path);
                let pieces: Vec<Dim> = borders
                    .windows(2)
                    .map(|piece| (piece[0], piece[1]))
                    .filter(|(from, to)| {
                        // What is written over itself cannot be lost.
                        let found = there.and_then(|file| file.get(offset + from..offset + to));
                        found != Some(&bytes[*from..*to]) || is_written(*from, *to)
                    })
                    .map(|(from, to)| Dim::Piece(number, from, to))
                    .collect();
                self.dims.extend(pieces);
                if durable
                    .get(path)
                    .is_none_or(|file| file.len() < offset + bytes.len())
                {
                    self.dims.push(Dim::Growth(number, borders));
                }
            }
            Pending::Write(path, ..) => {
                let same = self.dims.iter_mut().find_map(|dim| match dim {
                    Dim::Versions(writes) if self.pending[writes[0]].path() == path => Some(writes),
                    _ => None,
                });
                match same {
                    Some(writes) => writes.push(number),
                    None => self.dims.push(Dim::Versions(vec![number])),
                }
            }
            Pending::Truncate(..) => self.dims.push(Dim::Truncate(number)),
            Pending::Replace {
                versions,
                is_synced,
                is_renamed,
                ..
            } => {
                let forms = match (is_renamed, is_synced) {
                    (false, _) => 0,
                    (true, true) => 1,
                    (true, false) => TORN_FORMS + versions.len(),
                };
                self.dims.push(Dim::Replace(number, forms));
            }
        }
    }

    /// How many ways each of them may go.
    pub(super) fn radices(&self) -> Vec<usize> {
        let radix = |dim: &Dim| match dim {
            Dim::Piece(..) | Dim::Truncate(_) => 2,
            Dim::Growth(_, borders) => borders.len(),
            Dim::Versions(writes) => writes.len() + 1,
            Dim::Replace(_, forms) => 2 + forms,
        };
        self.dims.iter().map(radix).collect()
    }

    /// What becomes of the files `touched` when each goes the way that `values` says.
    pub(super) fn apply(&self, touched: &Files, values: &[usize]) -> Files {
        let mut files = touched.clone();
        for (dim, value) in self.dims.iter().zip(values) {
            match dim {
                Dim::Versions(_) | Dim::Truncate(_) | Dim::Piece(..) if *value == 0 => {}
                Dim::Piece(number, from, to) => {
                    self.write(&mut files, *number, |file, offset, bytes| {
                        put(file, offset + from, &bytes[*from..*to]);
                    });
                }
                Dim::Growth(number, borders) => {
                    self.write(&mut files, *number, |file, offset, _| {
                        file.resize(file.len().max(offset + borders[*value]), 0);
                    });
                }
                Dim::Versions(writes) => self.write(&mut files, writes[value - 1], put),
                Dim::Truncate(number) => {
                    if let Pending::Truncate(path, length) = &self.pending[*number] {
                        Arc::make_mut(files.get_mut(path).unwrap()).truncate(*length);
                    }
                }
                Dim::Replace(number, _) => self.replace(&mut files, *number, *value),
            }
        }
        files
    }

    fn write(
        &self,
        files: &mut Files,
        number: usize,
        change: impl FnOnce(&mut Vec<u8>, usize, &[u8]),
    ) {
        if let Pending::Write(path, offset, bytes) = &self.pending[number] {
            change(Arc::make_mut(files.get_mut(path).unwrap()), *offset, bytes);
        }
    }

    fn replace(&self, files: &mut Files, number: usize, value: usize) {
        let Pending::Replace {
            path,
            versions,
            is_synced,
            ..
        } = &self.pending[number]
        else {
            return;
        };
        let bytes = match value {
            0 => return,
            1 => {
                files.insert(temporary(path), Arc::clone(&versions[0]));
                return;
            }
            form if *is_synced => Arc::clone(&versions[form - 2]),
            2 => Arc::default(),
            3 => Arc::new(vec![0; versions[0].len()]),
            4 => Arc::new(versions[0][..versions[0].len() / 2].to_vec()),
            form => Arc::clone(&versions[form - 2 - TORN_FORMS]),
        };
        files.remove(&temporary(path));
        files.insert(path.clone(), bytes);
    }
}

/// Bytes of a sector, which a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// Where a write to the log may tear: between the parts of each frame, in the middle of its record,
/// and between sectors. The first and the last border are the ends of the write.
fn borders(offset: usize, bytes: &[u8]) -> Vec<usize> {
    let mut borders = vec![0, bytes.len()];
    let mut at = 0;
    while bytes[at..].starts_with(b"AXF1") {
        let field = |from: usize| {
            let field: [u8; 4] = bytes[at + from..at + from + 4].try_into().unwrap();
            u32::from_be_bytes(field) as usize
        };
        let (record, payloads, signature) = (field(12), field(16), field(20) & 0xff);
        let mut part = at + 28;
        borders.extend([at, part, part + record / 2]);
        for length in [record, payloads, signature] {
            borders.push(part + length);
            part += length + 4;
            borders.push(part);
        }
        at = part;
    }
    let sectors = (offset / SECTOR_BYTES + 1..).map(|sector| sector * SECTOR_BYTES - offset);
    borders.extend(sectors.take_while(|at| *at < bytes.len()));
    borders.sort_unstable();
    borders.dedup();
    borders
}

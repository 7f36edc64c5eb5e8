//! Named points at which a test may kill the process.
//!
//! With the cargo feature `crash-points`, a process whose environment has
//! `AXIOM_HIVE_CRASH_AT=<name>` or `<name>:<n>` sends itself `SIGKILL` when it reaches the point for
//! the first (or the n-th) time. Without the feature nothing is compiled in but the list.

macro_rules! crash_points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A point of the append path or of creation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum CrashPoint {
            $($(#[$doc])* $variant,)*
        }

        impl CrashPoint {
            #[cfg(feature = "crash-points")]
            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        /// Every crash point by name, in the order in which a first append on a new directory
        /// reaches them.
        pub const CRASH_POINTS: &[&str] = &[$($name,)*];
    };
}

crash_points! {
    /// The directory has its lock, nothing else.
    CreateStart = "create.start",
    /// Key and empty pin are in the key store.
    CreateKeys = "create.after_keys",
    /// The empty heads are there, the log is not.
    CreateHeads = "create.after_heads",
    /// The first segment is there.
    CreateLog = "create.after_log",
    /// A damaged tail was cut.
    OpenCut = "open.after_cut",
    /// Open, every check passed, heads and pin not yet caught up with the log.
    OpenChecked = "open.checked",
    /// A new segment is there, still empty.
    Rotated = "append.after_rotation",
    /// The tree is signed, nothing is written.
    Signed = "append.after_sign",
    /// Half of the frame is written.
    HalfFrame = "append.half_frame",
    /// The frame is written, not synced.
    Written = "append.after_write",
    /// The frame is durable.
    Synced = "append.after_sync",
    /// The head is written.
    HeadWritten = "append.after_head",
    /// The pin is written.
    Pinned = "append.after_pin",
    /// Full tiles are written; the reply is not given.
    BeforeReply = "append.before_reply",
}

/// Dies here if this point is armed.
pub(super) fn reach(point: CrashPoint) {
    reach_after(point, || ());
}

/// Dies here if this point is armed, but first does what a crash in the middle of a step leaves.
#[cfg(feature = "crash-points")]
pub(super) fn reach_after(point: CrashPoint, half: impl FnOnce()) {
    if armed::is_due(point.name()) {
        half();
        armed::die();
    }
}

/// Nothing is armed in a build without the feature.
#[cfg(not(feature = "crash-points"))]
pub(super) fn reach_after(_point: CrashPoint, _half: impl FnOnce()) {}

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The armed point and at which visit it strikes, from 1.
    fn armed() -> Option<&'static (String, u64)> {
        static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
        ARMED
            .get_or_init(|| {
                let text = std::env::var("AXIOM_HIVE_CRASH_AT").ok()?;
                Some(match text.split_once(':') {
                    Some((name, nth)) => (name.to_owned(), nth.parse().ok()?),
                    None => (text, 1),
                })
            })
            .as_ref()
    }

    pub(super) fn is_due(name: &str) -> bool {
        static VISITS: AtomicU64 = AtomicU64::new(0);
        armed().is_some_and(|(at, nth)| {
            at == name && VISITS.fetch_add(1, Ordering::Relaxed) + 1 == *nth
        })
    }

    /// `SIGKILL` cannot be caught; the loop only bridges the time until it arrives.
    pub(super) fn die() -> ! {
        let me = rustix::process::getpid();
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

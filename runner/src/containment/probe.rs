//! The proof that the walls hold: from inside, what is reachable outside must not be.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::brief;
use super::settings::{ProbeReport, ProbeTargets, Settings};

/// How long the canary's own connection may take: it is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Inside the walls: tries them, and adds what did not hold.
pub(super) fn attack(
    settings: &Settings,
    targets: &ProbeTargets,
    mut report: ProbeReport,
) -> ProbeReport {
    let canary = SocketAddr::from((Ipv4Addr::LOCALHOST, targets.port));
    let scratch = settings.scratch.join("probe");
    let checks = [
        (
            File::open(&targets.file).is_ok(),
            "a forbidden file was opened",
        ),
        (
            File::options().append(true).open(&targets.file).is_ok(),
            "a forbidden file was opened for writing",
        ),
        (
            TcpStream::connect_timeout(&canary, CONNECT_TIMEOUT).is_ok(),
            "a forbidden port was reached",
        ),
        (
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).is_ok(),
            "a port was bound",
        ),
        (
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_ok(),
            "a UDP socket was made",
        ),
        (UnixDatagram::unbound().is_ok(), "a unix socket was made"),
        (
            set_mode(&targets.file).is_ok(),
            "the mode of a forbidden file was changed",
        ),
        (
            std::fs::write(&scratch, b"probe").is_err(),
            "the scratch directory cannot be written",
        ),
    ];
    let failed = checks.iter().filter(|(failed, _)| *failed);
    report
        .missing
        .extend(failed.map(|(_, what)| (*what).to_owned()));
    report
}

fn set_mode(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// Outside the walls: sets up the canaries, shows that they answer, and runs the shim against them.
/// `parent` is a directory for the canary and for a scratch directory.
pub(super) fn run(shim: &Path, settings: &Settings, parent: &Path) -> io::Result<ProbeReport> {
    let outside = tempfile::Builder::new()
        .prefix("axiom-hive-probe-")
        .tempdir_in(parent)?;
    let scratch = tempfile::Builder::new()
        .prefix("axiom-hive-run-")
        .tempdir_in(parent)?;
    let file = outside.path().join("canary");
    std::fs::write(&file, b"canary")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    // A refusal means something only where this works.
    File::open(&file)?;
    TcpStream::connect_timeout(&listener.local_addr()?, CONNECT_TIMEOUT)?;
    let settings = Settings {
        required: false,
        scratch: scratch.path().to_owned(),
        probe: Some(ProbeTargets { file, port }),
        ..settings.clone()
    };
    let (status, text) = brief::run(
        Command::new(shim)
            .arg(super::shim::SHIM_ARGUMENT)
            .arg(serde_json::to_string(&settings)?)
            .env_clear(),
    )?;
    if !status.success() {
        return Err(io::Error::other(format!("the shim ended with {status}")));
    }
    serde_json::from_str(&text).map_err(io::Error::from)
}

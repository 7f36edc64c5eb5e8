//! The ledger service: one ledger on one volume, over HTTPS. `docs/LEDGER-API.md` says what it
//! answers, `axiom_hive_runner::ledger_service::Config` what its settings file holds.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use axiom_hive_core::tlog::{KeyType, Policy, SigningKey};
use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::ledger::storage::Disk;
use axiom_hive_runner::ledger::{Anchor, KeyStore, Known, Ledger, LedgerReader};
use axiom_hive_runner::ledger_service::{Addresses, Bound, Config, WitnessesConfig};
use axiom_hive_runner::pipeline::{now_unix_ms, random_32};
use axiom_hive_runner::tls::ServerFiles;
use axiom_hive_runner::upkeep::{self, Upkeep};
use axiom_hive_runner::witness::Witness;
use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Upper bound of a key's or the settings' file: 1 MiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Payloads are in the log: it is its owner's alone.
const FILE_MODE: u32 = 0o600;

/// Keep a ledger and serve it over HTTPS
#[derive(Debug, Parser)]
#[command(name = "hive_ledger", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a ledger; made when there is none
    Serve(Box<ServeArgs>),
    /// Erase the payloads and salts of one record, while the service is down; record and receipts stay
    Erase {
        #[command(flatten)]
        ledger: LedgerArgs,
        index: u64,
    },
    /// Erase what is past the `retention_days` of its constitution, at least 183, and not on hold; while
    /// the service is down
    Retain {
        #[command(flatten)]
        ledger: LedgerArgs,
        /// Only say what would be erased
        #[arg(long)]
        dry_run: bool,
    },
    /// Put a task on hold, while the service is down: nothing of it is erased
    Hold {
        #[command(flatten)]
        ledger: LedgerArgs,
        #[arg(value_name = "TASK_UID")]
        task: String,
    },
    /// Lift the hold of a task, while the service is down
    Unhold {
        #[command(flatten)]
        ledger: LedgerArgs,
        #[arg(value_name = "TASK_UID")]
        task: String,
    },
    /// Cosign checkpoints of other logs, each only if it extends the one before (C2SP tlog-witness)
    Witness(WitnessArgs),
    /// Print a new private key for a ledger: a secret
    Keygen {
        /// Names the ledger, such as `ledger.example.com/hive`
        #[arg(long, value_name = "ORIGIN")]
        origin: String,
        /// For a witness, which the name names then
        #[arg(long)]
        witness: bool,
        /// For a witness that signs with ML-DSA-44, which a quantum computer does not break
        #[arg(long, requires = "witness")]
        ml_dsa: bool,
    },
    /// Print the public key (vkey) of a private key
    Vkey {
        /// The private key, as `keygen` prints it
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

#[derive(Debug, Args)]
struct LedgerArgs {
    /// The ledger
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// Where the pin (the last head, beside the ledger) and the key's lock lie; not in the ledger
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The private key, as `keygen` prints it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A checkpoint of this ledger that is kept elsewhere; a ledger that does not begin with what it
    /// covers opens read-only. May be repeated; an empty or missing file knows nothing
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Who may do what, and the limits (TOML)
    #[arg(long, value_name = "FILE")]
    settings: PathBuf,
    /// The certificate and its chain (PEM); a changed file is taken over within seconds
    #[arg(long, value_name = "FILE")]
    tls_certificate: PathBuf,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// Authorities of client certificates (PEM); without it none is asked for
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// HTTPS
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// The port that only greets
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8444")]
    canary: SocketAddr,
}

#[derive(Debug, Args)]
struct WitnessArgs {
    /// The private key, as `keygen --witness` prints it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The logs to cosign: a policy (C2SP tlog-policy) with a line `log VKEY` for each, and `quorum none`
    #[arg(long, value_name = "FILE")]
    logs: PathBuf,
    /// Where it keeps what it cosigned last. Never put back an older copy
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8445")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let code = std::panic::catch_unwind(|| {
        let cli = match Cli::try_parse() {
            Ok(cli) => cli,
            Err(error) => {
                // Nothing is left to say when even this write fails.
                let _ = error.print();
                let exit = if error.use_stderr() {
                    Exit::Input
                } else {
                    Exit::Ok
                };
                return exit.code();
            }
        };
        tracing_subscriber::fmt()
            .json()
            .with_writer(std::io::stderr)
            .init();
        match run(cli.command) {
            Ok(()) => Exit::Ok.code(),
            Err(failure) => {
                tracing::error!(exit_code = failure.exit.code(), "{failure}");
                failure.exit.code()
            }
        }
    });
    ExitCode::from(code.unwrap_or(Exit::Bug.code()))
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve(*args),
        Command::Erase { ledger, index } => keep(&ledger, &Upkeep::Erase(index)),
        Command::Retain {
            ledger,
            dry_run: true,
        } => {
            let reader = LedgerReader::open(&ledger.ledger).map_err(Failure::with(Exit::Ledger))?;
            print(upkeep::due(&reader, now_unix_ms())?.json)
        }
        Command::Retain { ledger, .. } => keep(&ledger, &Upkeep::Retain),
        Command::Hold { ledger, task } => keep(&ledger, &Upkeep::Hold(task)),
        Command::Unhold { ledger, task } => keep(&ledger, &Upkeep::Unhold(task)),
        Command::Witness(args) => witness(&args),
        Command::Keygen {
            origin,
            witness,
            ml_dsa,
        } => {
            let seed = random_32().map_err(Failure::with(Exit::Bug))?;
            let key_type = match (witness, ml_dsa) {
                (_, true) => KeyType::MlDsa44,
                (true, false) => KeyType::Cosignature,
                (false, false) => KeyType::Ed25519,
            };
            let key = SigningKey::with_type(&origin, key_type, &seed);
            let key = key.map_err(Failure::with(Exit::Input))?;
            print(&*key.to_private())
        }
        Command::Vkey { key } => print(read_key(&key)?.verifying_key()),
    }
}

fn print(text: impl Display) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").map_err(Failure::with(Exit::Input))
}

fn serve(mut args: ServeArgs) -> Result<(), Failure> {
    let config = Config::parse(&read(&args.settings)?)
        .map_err(|error| in_file(&args.settings, error, Exit::Constitution))?;
    let cosigned = config.witnesses.as_ref();
    let cosigned = cosigned.map(WitnessesConfig::cosigned_file);
    args.ledger.anchor.extend(cosigned);
    let ledger = open(&args.ledger)?;
    let files = ServerFiles {
        certificate: args.tls_certificate,
        key: args.tls_key,
        client_ca: args.client_ca,
    };
    let addresses = Addresses {
        https: args.listen,
        canary: args.canary,
    };
    runtime()?.block_on(serve_until_told(ledger, &config, files, addresses))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build();
    runtime.map_err(Failure::with(Exit::Bug))
}

fn witness(args: &WitnessArgs) -> Result<(), Failure> {
    let key = read_key(&args.key)?;
    let logs: Result<Policy, _> = read(&args.logs)?.parse();
    let logs = logs.map_err(|error| in_file(&args.logs, error, Exit::Constitution))?;
    let vkey = key.verifying_key().to_string();
    let storage = Arc::new(Disk::new(&args.state, FILE_MODE));
    let (stop, told) = (CancellationToken::new(), CancellationToken::new());
    let witness = Witness::open(key, &logs.logs, storage, stop.clone());
    let witness = witness.map_err(Failure::with(Exit::Ledger))?;
    runtime()?.block_on(async {
        until_told(&stop, &told)?;
        let listener = TcpListener::bind(args.listen).await;
        let listener = listener.map_err(Failure::with(Exit::Constitution))?;
        let http = listener.local_addr().map_err(Failure::with(Exit::Bug))?;
        tracing::info!(%http, vkey, logs = logs.logs.len(), "witnessing");
        witness.serve(listener).await;
        ended(&told)
    })
}

/// Takes the lock, and makes the ledger when there is none.
fn open(args: &LedgerArgs) -> Result<Ledger, Failure> {
    let keys = KeyStore::of_key(&args.state, read_key(&args.key)?);
    let keys = keys.map_err(|error| in_file(&args.key, error, Exit::Constitution))?;
    let anchors = args.anchor.iter().map(|path| anchor(path));
    let anchors: Vec<Option<Anchor>> = anchors.collect::<Result<_, _>>()?;
    let anchors: Vec<Anchor> = anchors.into_iter().flatten().collect();
    let disk = Arc::new(Disk::new(&args.ledger, FILE_MODE));
    let name = args.ledger.display().to_string();
    let ledger = Ledger::open_with_anchors(disk, &keys, &name, &anchors);
    let ledger = ledger.map_err(Failure::with(Exit::Ledger))?;
    for problem in ledger.repaired() {
        tracing::warn!(%problem, "the ledger was repaired");
    }
    for problem in ledger.read_only() {
        tracing::error!(%problem, "the ledger is read-only");
    }
    Ok(ledger)
}

/// With the lock, on what is a ledger already; says what was done as one line of JSON.
fn keep(args: &LedgerArgs, what: &Upkeep) -> Result<(), Failure> {
    drop(LedgerReader::open(&args.ledger).map_err(Failure::with(Exit::Ledger))?);
    let said = upkeep::carry_out(&mut open(args)?, what, now_unix_ms())?;
    print(said.json)
}

/// What somebody kept of this ledger. On the first start nobody has kept anything yet.
fn anchor(path: &Path) -> Result<Option<Anchor>, Failure> {
    let is_missing = std::fs::metadata(path).is_err_and(|e| e.kind() == ErrorKind::NotFound);
    let note = if is_missing {
        String::new()
    } else {
        read(path)?
    };
    let from = path.display().to_string();
    if note.is_empty() {
        tracing::warn!(anchor = from, "this anchor knows nothing of the ledger");
        return Ok(None);
    }
    let known = Known::Checkpoint(note);
    Ok(Some(Anchor { from, known }))
}

/// SIGTERM and SIGINT end it well; a disk that failed ends it with the ledger's exit code.
async fn serve_until_told(
    ledger: Ledger,
    config: &Config,
    files: ServerFiles,
    addresses: Addresses,
) -> Result<(), Failure> {
    let (stop, told) = (CancellationToken::new(), CancellationToken::new());
    until_told(&stop, &told)?;
    let vkey = ledger.view().verifying_key().to_string();
    let bound = Bound::new(ledger, config, files, addresses, stop).await;
    let bound = bound.map_err(Failure::with(Exit::Constitution))?;
    let Addresses { https, canary } = bound.addresses().map_err(Failure::with(Exit::Bug))?;
    tracing::info!(%https, %canary, vkey, "serving");
    bound.serve().await;
    ended(&told)
}

/// SIGTERM and SIGINT set both tokens.
fn until_told(stop: &CancellationToken, told: &CancellationToken) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::with(Exit::Bug))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::with(Exit::Bug))?;
    let (stopping, by_signal) = (stop.clone(), told.clone());
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        by_signal.cancel();
        stopping.cancel();
    });
    Ok(())
}

fn ended(told: &CancellationToken) -> Result<(), Failure> {
    if told.is_cancelled() {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Ledger,
            "the disk failed; start again to read what is durable",
        ))
    }
}

fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let text = read(path)?;
    SigningKey::from_private(text.trim_end())
        .map_err(|error| in_file(path, error, Exit::Constitution))
}

fn read(path: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let refuse = |error: &dyn Display| in_file(path, error, Exit::Constitution);
    let file = std::fs::File::open(path).map_err(|error| refuse(&error))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| refuse(&error))?;
    if text.len() as u64 == MAX_FILE_BYTES {
        return Err(refuse(&"must be shorter than 1 MiB"));
    }
    Ok(text)
}

fn in_file(path: &Path, error: impl Display, exit: Exit) -> Failure {
    Failure::new(exit, format!("{}: {error}", path.display()))
}

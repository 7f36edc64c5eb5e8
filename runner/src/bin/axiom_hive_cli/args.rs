//! The command line's grammar.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run AI jobs that can be proven afterwards.
///
/// A prompt goes to an untrusted runtime in several branches; an answer is accepted only when enough
/// branches agree, filtered by the constitution's rules, recorded in a tamper-evident ledger, and only
/// then printed. `axiom_hive_cli "prompt"` is short for `axiom_hive_cli run "prompt"`.
#[derive(Debug, Parser)]
#[command(
    name = "axiom_hive_cli",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 answered · 1 input · 2 constitution · 3 runtime · 4 withheld · \
5 ledger · 6 containment · 7 verification · 8 cancelled · 70 bug"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// How the log on stderr is printed; `AXIOM_HIVE_LOG` sets the level
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer one prompt under a constitution, and record it
    Run(RunArgs),
    /// Verify a ledger, or a receipt offline
    Verify(VerifyArgs),
    /// Recompute a recorded decision, byte for byte
    Replay {
        /// The ledger
        ledger_dir: PathBuf,
        /// Index of the record
        index: u64,
    },
    /// Look at constitutions
    #[command(subcommand)]
    Constitution(ConstitutionCommand),
    /// Show what the interceptor would do to a text, and why
    Scan {
        /// The constitution (TOML)
        #[arg(long, value_name = "FILE", default_value = "config/constitution.toml")]
        constitution: PathBuf,
        /// The text; standard input when absent
        file: Option<PathBuf>,
    },
    /// Look into a ledger
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Tasks of a cluster, with your own kubeconfig and rights
    Task(TaskArgs),
    /// Print shell completions
    Completions { shell: clap_complete::Shell },
    /// Print the manual page (roff)
    Man,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The prompt; read from standard input when absent
    pub(crate) prompt: Option<String>,
    /// The constitution (TOML)
    #[arg(long, value_name = "FILE", default_value = "config/constitution.toml")]
    pub(crate) constitution: PathBuf,
    /// The ledger; made when it does not exist
    #[arg(long, value_name = "DIR", default_value = ".axiom-hive/ledger")]
    pub(crate) ledger: PathBuf,
    /// Branches to ask, at most the constitution's `max_branches`
    #[arg(long, value_name = "N")]
    pub(crate) branches: Option<u32>,
    /// Write the receipt here, and its private opening beside it (FILE.opening)
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Option<PathBuf>,
    /// Names the task; the same UID again returns the recorded answer. A fresh one when absent
    #[arg(long, value_name = "UID")]
    pub(crate) task_uid: Option<String>,
    /// What to do where the runtime's process cannot be confined
    #[arg(long, value_enum, default_value_t = Containment::Required)]
    pub(crate) containment: Containment,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Containment {
    /// Refuse to start the runtime
    Required,
    /// Confine as far as the machine allows
    BestEffort,
    /// Do not confine
    Off,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Runtime")]
pub(crate) struct RuntimeArgs {
    /// Who answers
    #[arg(long, value_enum, default_value_t = RuntimeChoice::Python)]
    pub(crate) runtime: RuntimeChoice,
    /// For `process`: the program. `PYTHON_BIN` names the interpreter of `python`
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) command: Option<String>,
    /// For `process` and `python`: one argument; may be repeated
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
    /// For `process` and `python`: one environment value, NAME=VALUE; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// For `process` and `python`: how prompt and answer travel
    #[arg(long, value_enum, default_value_t = Protocol::Text)]
    pub(crate) protocol: Protocol,
    /// For `http`: the service; for `openai`: the URL before /chat/completions
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// For `openai`: the model
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// For `openai`: a system message before the prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// For `openai`: temperature in thousandths
    #[arg(long, value_name = "N")]
    pub(crate) temperature_thousandths: Option<u32>,
    /// For `openai`: upper bound of generated tokens
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u32>,
    /// For `openai`: a file that holds the API key; `AXIOM_HIVE_API_KEY` otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeChoice {
    /// The default Python runtime
    Python,
    /// Any program over stdin and stdout
    Process,
    /// Any service that takes and answers JSON
    Http,
    /// An OpenAI-compatible chat-completions endpoint
    #[value(name = "openai")]
    OpenAi,
    /// Answers with the prompt
    Echo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// One process a branch: prompt on stdin, answer on stdout
    Text,
    /// One long-lived process: a JSON request and a JSON reply per line
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The ledger
    #[arg(required_unless_present_any = ["receipt", "archive"], conflicts_with_all = ["receipt", "archive"])]
    pub(crate) ledger_dir: Option<PathBuf>,
    /// An archive that `ledger export` wrote
    #[arg(long, value_name = "DIR", requires = "key", conflicts_with = "receipt")]
    pub(crate) archive: Option<PathBuf>,
    /// A receipt (*.tlog-proof)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) receipt: Option<PathBuf>,
    /// The ledger's public key (vkey), or a file that holds it; the pin of this machine otherwise
    #[arg(long, value_name = "VKEY")]
    pub(crate) key: Option<String>,
    /// The sealed ledger that this one succeeds: it is verified too, and must be the one that is named
    #[arg(long, value_name = "DIR", requires = "ledger_dir")]
    pub(crate) predecessor: Option<PathBuf>,
    /// The private opening of the receipt
    #[arg(long, value_name = "FILE", requires = "receipt")]
    pub(crate) opening: Option<PathBuf>,
    /// The prompt the receipt should be about
    #[arg(long, value_name = "FILE", requires = "opening")]
    pub(crate) prompt: Option<PathBuf>,
    /// The answer the receipt should be about
    #[arg(long, value_name = "FILE", requires = "opening")]
    pub(crate) answer: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConstitutionCommand {
    /// Check a file; prints every error with its place
    Check { file: PathBuf },
    /// Print the digest
    Digest { file: PathBuf },
    /// Print the canonical form and what follows from it
    Show { file: PathBuf },
    /// Print the Constitution object for a cluster (YAML)
    Render { file: PathBuf },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Print the public key (vkey)
    Key { ledger_dir: PathBuf },
    /// List records
    List {
        ledger_dir: PathBuf,
        /// First index
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// At most this many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        limit: u64,
    },
    /// Print one record, and its receipt on request
    Show {
        ledger_dir: PathBuf,
        index: u64,
        /// Write the receipt here
        #[arg(long, value_name = "FILE")]
        receipt: Option<PathBuf>,
    },
    /// Write damaged or missing tiles and bundles again, from a log that verifies; nothing else
    Repair {
        ledger_dir: PathBuf,
        /// The ledger's public key (vkey), or a file that holds it; your pin when absent
        #[arg(long, value_name = "VKEY|FILE")]
        key: Option<String>,
    },
    /// Erase the payloads and salts of one record; the record and every receipt stay
    Erase { ledger_dir: PathBuf, index: u64 },
    /// Erase what is past the `retention_days` of its constitution, at least 183, and not on hold
    Retain {
        ledger_dir: PathBuf,
        /// Only say what would be erased
        #[arg(long)]
        dry_run: bool,
    },
    /// Put a task on hold: nothing of it is erased; without a task, list those on hold
    Hold {
        ledger_dir: PathBuf,
        #[arg(value_name = "TASK_UID")]
        task: Option<String>,
    },
    /// Lift the hold of a task
    Unhold {
        ledger_dir: PathBuf,
        #[arg(value_name = "TASK_UID")]
        task: String,
    },
    /// End a ledger: from then on it takes erasures only, and its tree is published as static files
    Seal { ledger_dir: PathBuf },
    /// Seal a ledger, and begin one with a new key that goes on from there; each names the other
    Rotate {
        ledger_dir: PathBuf,
        /// The successor: empty or missing
        new_dir: PathBuf,
        /// Why, as the successor's first record has it
        #[arg(long, value_enum, default_value_t = Reason::Other)]
        reason: Reason,
    },
    /// Write an archive: the static tlog-tiles tree for foreign tools and web servers, key, instructions and
    /// checksums; no payload of a task
    Export {
        ledger_dir: PathBuf,
        out_dir: PathBuf,
        /// With the texts of the constitutions
        #[arg(long)]
        constitutions: bool,
    },
}

/// Why a ledger is succeeded by a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reason {
    /// It has grown large
    Size,
    /// Its time, such as a year, is over
    Calendar,
    /// Its key is to be replaced
    Key,
    /// Anything else
    Other,
}

#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    #[command(subcommand)]
    pub(crate) command: TaskCommand,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// A context of the kubeconfig; the current one when absent
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The task's namespace; the context's when absent
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Apply a new task, and print its name
    Submit(SubmitArgs),
    /// Wait for the end of a task; the exit code is how it ended
    Wait {
        name: String,
        /// How long to wait; the task itself goes on
        #[arg(long, value_name = "N", default_value_t = 600,
            value_parser = clap::value_parser!(u64).range(1..=604_800))]
        timeout_seconds: u64,
    },
    /// Write the receipt of a task that ended, and check it as `verify --receipt` does
    Receipt {
        name: String,
        /// Where to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The ledger's public key (vkey), or a file that holds it; the task's status names one otherwise,
        /// which is as good as the cluster
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
    },
    /// Print the answer of a task that ended
    Answer { name: String },
    /// Cancel a task that has not ended, by deleting it; the ledger records that
    Cancel { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// A file with one task object (YAML or JSON); `-`: standard input
    #[arg(required_unless_present = "constitution", conflicts_with_all = ["constitution", "prompt", "runtime", "name"])]
    pub(crate) file: Option<PathBuf>,
    /// Instead of a file: the constitution that the task runs under
    #[arg(long, value_name = "NAME", requires = "prompt", requires = "runtime")]
    pub(crate) constitution: Option<String>,
    /// The prompt; `-`: standard input
    #[arg(
        long,
        value_name = "TEXT",
        requires = "constitution",
        allow_hyphen_values = true
    )]
    pub(crate) prompt: Option<String>,
    /// A file with what stands in a task under `spec.runtime` (YAML or JSON), such as `echo: {}`
    #[arg(long, value_name = "FILE", requires = "constitution")]
    pub(crate) runtime: Option<PathBuf>,
    /// The task's name; the cluster makes one up when absent
    #[arg(long, value_name = "NAME", requires = "constitution")]
    pub(crate) name: Option<String>,
}

//! The ledger's own side of C2SP tlog-witness: its newest checkpoint is shown to every witness of the policy,
//! and what they cosign is kept and served once it is enough.
//!
//! No append waits for a witness. One that does not answer is asked again after the next interval, and shows in
//! log and metrics. One that has cosigned more records than the ledger holds has seen what this ledger has lost: nothing is
//! appended any more, and the reason names the witness.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axiom_hive_client::tls::{TlsError, http_client_of_any};
use axiom_hive_core::tlog::policy::PolicyWitness;
use axiom_hive_core::tlog::witness::{
    MAX_COSIGNATURES_BYTES, parse_cosignatures, with_cosignature,
};
use axiom_hive_core::tlog::{AddCheckpoint, Checkpoint, Hash, Note, NoteError, Policy};
use futures_util::future::join_all;
use reqwest::{Client, Response, StatusCode};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::config::WitnessesConfig;
use super::metrics::Metrics;
use super::service::Service;
use crate::ledger::Handle;
use crate::ledger::storage::{Disk, Storage as _};

/// How long one witness may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What is asked again at once when a witness says where it stands: once.
const TRIES: usize = 2;
/// The mode of the file of the cosigned checkpoint.
const FILE_MODE: u32 = 0o600;
/// The name of that file in its folder.
pub(super) const FILE: &str = "checkpoint";

/// Who is asked, and what came of it.
pub(super) struct Witnessing {
    policy: Policy,
    http: Client,
    interval: Duration,
    folder: Arc<Disk>,
    /// The newest checkpoint that the policy's quorum cosigned.
    newest: RwLock<Option<String>>,
}

impl std::fmt::Debug for Witnessing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Witnessing({} witnesses)", self.policy.witnesses.len())
    }
}

/// Why a witness gave no cosignature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Silence {
    #[error("no answer: {0}")]
    Unreachable(String),
    #[error("it refused: {0}")]
    Refused(String),
    #[error("its answer is no cosignature of this checkpoint: {0}")]
    Malformed(String),
    /// It cosigned more records than there are.
    #[error("it cosigned {cosigned} records of this ledger, which has {size}")]
    Behind { cosigned: u64, size: u64 },
}

impl Silence {
    fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Malformed(_) => "malformed",
            Self::Behind { .. } => "behind",
        }
    }
}

/// What is remembered of one witness between rounds.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// What it cosigned last, as far as is known.
    size: u64,
    /// What was last said of it.
    silence: Option<Silence>,
}

impl Witnessing {
    pub(super) fn new(config: &WitnessesConfig) -> Result<Self, TlsError> {
        let ca = config.ca_file.as_ref().map(std::fs::read).transpose();
        let ca = ca.map_err(|error| TlsError::Config(format!("witnesses.ca_file: {error}")))?;
        Ok(Self {
            policy: config.policy.clone(),
            http: http_client_of_any(ca.as_deref())?,
            interval: Duration::from_secs(config.interval_seconds.into()),
            folder: Arc::new(Disk::new(&config.folder, FILE_MODE)),
            newest: RwLock::new(None),
        })
    }

    /// The newest checkpoint that enough witnesses cosigned.
    pub(super) fn newest(&self) -> Option<String> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }

    /// A checkpoint with the cosignatures that it has: of the same text.
    pub(super) fn cosigned(&self, checkpoint: String) -> String {
        let is_same = |note: &String| {
            let text = |note: &str| note.split("\n\n").next().map(str::to_owned);
            text(note) == text(&checkpoint)
        };
        self.newest().filter(is_same).unwrap_or(checkpoint)
    }

    fn publish(&self, note: String) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(note);
    }

    /// Takes over what was cosigned before the last end, if it is still the policy's.
    fn read_kept(&self, metrics: &Metrics) {
        let kept = self.folder.read(FILE).ok().flatten();
        let kept = kept.and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(note) = kept
            && let Ok(witnessed) = self.policy.check(&note)
        {
            metrics.witnessed(&witnessed);
            self.publish(note);
        }
    }
}

/// Asks the witnesses again and again, until the service ends.
pub(super) async fn run(service: Arc<Service>) {
    let Some(witnessing) = &service.witnessing else {
        return;
    };
    witnessing.read_kept(&service.metrics);
    let mut standings = vec![Standing::default(); witnessing.policy.witnesses.len()];
    let mut ticks = interval(witnessing.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let rounds = async {
        loop {
            ticks.tick().await;
            match service.ledger.checkpoint().await {
                Ok(Some(note)) => round(&service, witnessing, &mut standings, &note).await,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "witnesses are asked later"),
            }
        }
    };
    tokio::select! {
        () = service.stop.cancelled() => {}
        () = rounds => {}
    }
}

/// Shows one checkpoint to every witness at once.
async fn round(service: &Service, witnessing: &Witnessing, standings: &mut [Standing], text: &str) {
    let is_done = witnessing.cosigned(text.to_owned()) != text;
    let (Ok(note), false) = (Note::parse(text), is_done) else {
        return;
    };
    let Ok(checkpoint) = Checkpoint::parse(&note.text) else {
        return;
    };
    let witnesses = witnessing.policy.witnesses.iter();
    let asked = witnesses
        .zip(standings)
        .filter(|(witness, _)| witness.url.is_some());
    let asked = asked.map(async |(witness, standing)| {
        let answer = ask(
            witnessing,
            &service.ledger,
            witness,
            standing,
            &note,
            &checkpoint,
        )
        .await;
        said(service, witness, standing, answer.as_ref().err());
        answer.ok().map(|note| (witness, note))
    });
    let answers = join_all(asked).await;
    let mut cosigned = note.clone();
    for (witness, theirs) in answers.into_iter().flatten() {
        // Each answer is the same note with one line more, which was checked.
        if let Ok(more) = with_cosignature(&cosigned, &witness.key, theirs.signatures) {
            cosigned = more;
        }
    }
    if let Ok(witnessed) = witnessing.policy.check(&cosigned.to_string()) {
        service.metrics.witnessed(&witnessed);
        let (note, folder) = (cosigned.to_string(), Arc::clone(&witnessing.folder));
        let bytes = note.clone();
        let kept =
            tokio::task::spawn_blocking(move || folder.replace(FILE, bytes.as_bytes(), true));
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(%error, "the cosigned checkpoint is served, and not kept over the next start");
        }
        witnessing.publish(note);
    }
}

/// Log and metrics: each answer counts, a change is a line.
fn said(
    service: &Service,
    witness: &PolicyWitness,
    standing: &mut Standing,
    silence: Option<&Silence>,
) {
    let label = silence.map_or("cosigned", Silence::label);
    service.metrics.asked_witness(&witness.name, label);
    if let Some(Silence::Behind { cosigned, .. }) = silence {
        service
            .ledger
            .distrust(&format!("witness {}", witness.name), *cosigned);
    }
    let before = standing.silence.as_ref().map(Silence::label);
    if before != silence.map(Silence::label) {
        if let Some(why) = silence {
            tracing::warn!(witness = witness.name, %why, "no cosignature");
        } else {
            tracing::info!(witness = witness.name, "it cosigns");
        }
    }
    standing.silence = silence.cloned();
}

/// The note with the cosignature of one witness.
async fn ask(
    witnessing: &Witnessing,
    ledger: &Handle,
    witness: &PolicyWitness,
    standing: &mut Standing,
    note: &Note,
    checkpoint: &Checkpoint,
) -> Result<Note, Silence> {
    let url = witness.url.as_deref().unwrap_or_default();
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    for _ in 0..TRIES {
        let old = standing.size.min(checkpoint.size);
        let request = AddCheckpoint {
            old,
            proof: proof(ledger, old, checkpoint.size).await?,
            note: note.to_string(),
        };
        let sent = witnessing.http.post(&url).body(request.to_string()).send();
        let (status, body) = answer(sent).await?;
        match status {
            StatusCode::OK => {
                let malformed = |error: NoteError| Silence::Malformed(error.to_string());
                let lines = parse_cosignatures(&body).map_err(malformed)?;
                let note = with_cosignature(note, &witness.key, lines).map_err(malformed)?;
                standing.size = checkpoint.size;
                return Ok(note);
            }
            StatusCode::CONFLICT => {
                let size = body.strip_suffix('\n').and_then(|size| size.parse().ok());
                let size =
                    size.ok_or_else(|| Silence::Malformed("a conflict without a size".to_owned()))?;
                // It may have grown since this checkpoint was taken.
                let own = ledger
                    .size()
                    .await
                    .map_err(|error| Silence::Refused(error.to_string()))?;
                if size > own {
                    return Err(Silence::Behind {
                        cosigned: size,
                        size: own,
                    });
                }
                standing.size = size;
                if size > checkpoint.size {
                    break;
                }
            }
            status => {
                // It may have lost what it knew, or was never asked: its next answer says.
                standing.size = 0;
                let line: String = body.chars().filter(|c| !c.is_control()).take(200).collect();
                return Err(Silence::Refused(format!("{status}, {line}")));
            }
        }
    }
    Err(Silence::Refused(
        "it cosigned another checkpoint meanwhile".to_owned(),
    ))
}

async fn proof(ledger: &Handle, old: u64, new: u64) -> Result<Vec<Hash>, Silence> {
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let proof = ledger.consistency(old, new).await;
    let proof = proof.map_err(|error| Silence::Refused(error.to_string()))?;
    proof.ok_or_else(|| Silence::Refused("there is no proof".to_owned()))
}

/// Status and body, within time and bounds.
async fn answer(
    sent: impl Future<Output = Result<Response, reqwest::Error>>,
) -> Result<(StatusCode, String), Silence> {
    let unreachable = |error: reqwest::Error| Silence::Unreachable(error.without_url().to_string());
    let whole = async {
        let mut response = sent.await.map_err(unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_COSIGNATURES_BYTES {
                return Err(Silence::Malformed("longer than 16 KiB".to_owned()));
            }
        }
        let body =
            String::from_utf8(body).map_err(|error| Silence::Malformed(error.to_string()))?;
        Ok((response.status(), body))
    };
    let late = |_| Silence::Unreachable(format!("not within {} s", ANSWER_TIMEOUT.as_secs()));
    timeout(ANSWER_TIMEOUT, whole).await.map_err(late)?
}

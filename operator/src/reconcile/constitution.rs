//! Constitutions: compiled, recorded, in force.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axiom_hive_client::ledger::ClientError;
use axiom_hive_core::constitution::Constitution as Core;
use axiom_hive_core::record::{Body, Label, Payload, Record, Salt};
use axiom_hive_core::supervisor::{Entry, Prepared};
use axiom_hive_core::wire::ErrorCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::runtime::controller::Action;

use super::write::write_status;
use super::{Context, ReconcileError};
use crate::api::Constitution;
use crate::api::condition::{ConditionReason, ConditionStatus, ConditionType, Desired, set};
use crate::api::constitution::{ConstitutionStatus, VersionInForce};
use crate::api::task::LedgerPointer;
use crate::plan::resolve::Version;

/// A constitution that is in force is looked at again after so long, whatever happens.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// One look at a constitution.
pub(super) async fn reconcile(
    object: Constitution,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let name = object.metadata.name.clone().unwrap_or_default();
    if object.metadata.deletion_timestamp.is_some() {
        context.change(|all| all.remove_object(&name));
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let old = object.status.clone().unwrap_or_default();
    let new = match context.accept(&object, &old, now).await? {
        Ok(in_force) => status(&old, &object, Some(in_force), None, now),
        Err((reason, message)) => {
            let in_force = old.in_force.clone();
            status(&old, &object, in_force, Some((reason, message)), now)
        }
    };
    let in_force = new.in_force.as_ref().map(|it| it.version.clone());
    context.change(|all| all.set_object(&name, object.spec.namespaces.clone(), in_force));
    context.look_again.send_replace(());
    if new != old {
        let api: Api<Constitution> = Api::all(context.client.clone());
        write_status(&api, &object, &old, &new).await?;
    }
    Ok(Action::requeue(LOOK_AGAIN))
}

impl Context {
    fn change(&self, work: impl FnOnce(&mut crate::plan::resolve::Constitutions)) {
        work(
            &mut self
                .constitutions
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// What the ledger holds of a version, remembered.
    pub(super) async fn learn(
        &self,
        name: &str,
        version: &str,
    ) -> Result<Option<axiom_hive_core::digest::Digest>, ReconcileError> {
        let proven = self
            .ledger
            .constitution(name, version, self.ledger_deadline())
            .await?;
        let Some(proven) = proven else {
            return Ok(None);
        };
        let Body::Constitution { constitution, .. } = proven.verified.record.body else {
            return Ok(None);
        };
        let held = Version {
            digest: constitution.digest,
            index: proven.verified.index,
            content: None,
        };
        self.change(|all| all.set_version(name, version, held));
        Ok(Some(constitution.digest))
    }

    /// The version that the object says, once it is valid and in the ledger; or why it is not in force.
    async fn accept(
        &self,
        object: &Constitution,
        old: &ConstitutionStatus,
        now: Timestamp,
    ) -> Result<Result<VersionInForce, (ConditionReason, String)>, ReconcileError> {
        let core = match object.spec.to_core() {
            Ok(core) => core,
            Err(error) => return Ok(Err((ConditionReason::Invalid, error.to_string()))),
        };
        let prepared = match Prepared::new(core) {
            Ok(prepared) => Arc::new(prepared),
            Err(error) => return Ok(Err((ConditionReason::Invalid, error.to_string()))),
        };
        let reference = prepared.reference().clone();
        let (record, pointer) = self.record(prepared.constitution()).await?;
        let Body::Constitution {
            constitution: held, ..
        } = &record.body
        else {
            return Err(ReconcileError::Unexpected(
                "a constitution's record is expected".to_owned(),
            ));
        };
        let index = u64::try_from(pointer.index).unwrap_or(0);
        let content =
            (held.digest == reference.digest).then(|| Arc::new(prepared.constitution().clone()));
        let version = Version {
            digest: held.digest,
            index,
            content,
        };
        self.change(|all| all.set_version(&reference.name, &reference.version, version));
        if let Err(violation) = self.known().check_version(prepared.constitution()) {
            let message = format!("{}: {}", violation.path, violation.message);
            return Ok(Err((ConditionReason::VersionReused, message)));
        }
        self.remember_prepared(prepared);
        let digest = reference.digest.to_string();
        let generation = object.metadata.generation.unwrap_or(0);
        let before = old
            .in_force
            .as_ref()
            .filter(|it| it.version == reference.version && it.digest == digest);
        Ok(Ok(VersionInForce {
            generation: before.map_or(generation, |it| it.generation),
            since_time: before.map_or(Time(now), |it| it.since_time.clone()),
            version: reference.version,
            digest,
            ledger: pointer,
        }))
    }

    /// Appends the first use, or finds it.
    async fn record(&self, constitution: &Core) -> Result<(Record, LedgerPointer), ReconcileError> {
        let reference = constitution.reference();
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)?;
        let payload = Payload {
            label: Label::CONSTITUTION,
            salt: Salt(salt),
            bytes: constitution.canonical_json(),
        };
        let entry = Entry {
            record: Record::new(Body::Constitution {
                constitution: reference,
                text: payload.commitment(),
            }),
            payloads: vec![payload],
        };
        let proven = match self.ledger.append(&entry, self.ledger_deadline()).await {
            // The version was used before, with other content: that record says which.
            Err(ClientError::Refused {
                code: ErrorCode::ConstitutionChanged,
                ..
            }) => {
                let (name, version) = (&constitution.meta.name, &constitution.meta.version);
                let deadline = self.ledger_deadline();
                let first = self.ledger.constitution(name, version, deadline).await?;
                let must = || format!("the ledger must hold constitution {name} {version}");
                first.ok_or_else(|| ReconcileError::Unexpected(must()))?
            }
            appended => appended?.proven,
        };
        let pointer = self.pointer(&proven);
        Ok((proven.verified.record, pointer))
    }
}

fn status(
    old: &ConstitutionStatus,
    object: &Constitution,
    in_force: Option<VersionInForce>,
    refused: Option<(ConditionReason, String)>,
    now: Timestamp,
) -> ConstitutionStatus {
    let generation = object.metadata.generation;
    let mut status = ConstitutionStatus {
        observed_generation: generation,
        conditions: old.conditions.clone(),
        in_force,
    };
    let (ready, stalled) = match refused {
        None => (
            (
                ConditionStatus::True,
                ConditionReason::InForce,
                "the applied version is in force".to_owned(),
            ),
            ConditionStatus::False,
        ),
        Some((reason, message)) => (
            (ConditionStatus::False, reason, message),
            ConditionStatus::True,
        ),
    };
    let (truth, reason, message) = ready;
    for (type_, truth) in [
        (ConditionType::Ready, truth),
        (ConditionType::Stalled, stalled),
    ] {
        let desired = Desired {
            type_,
            status: truth,
            reason,
            message: message.clone(),
        };
        set(&mut status.conditions, desired, generation, &Time(now));
    }
    status
}

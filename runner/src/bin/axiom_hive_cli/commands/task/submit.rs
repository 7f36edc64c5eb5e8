//! `task submit`.

use std::path::Path;

use axiom_hive_api::SupervisedTask;
use axiom_hive_runner::exit::{Exit, Failure};
use kube::Resource as _;
use kube::api::PostParams;
use kube::core::Request;
use serde_json::{Value, json};

use super::cluster::{Cluster, bounded};
use crate::args::SubmitArgs;
use crate::input::{read_stdin, read_text};
use crate::output::Printer;

/// The object to apply, as the user wrote it: what it must be is for the API server to say.
pub(super) fn read(args: &SubmitArgs) -> Result<Value, Failure> {
    let (Some(constitution), Some(prompt), Some(runtime)) =
        (&args.constitution, &args.prompt, &args.runtime)
    else {
        // The grammar asks for one of the two.
        let file = args.file.as_deref().unwrap_or(Path::new("-"));
        return task_of(read_object(file)?);
    };
    let prompt = match prompt.as_str() {
        "-" => read_stdin("the prompt")?,
        text => text.to_owned(),
    };
    let metadata = match &args.name {
        Some(name) => json!({"name": name}),
        None => json!({}),
    };
    Ok(json!({
        "apiVersion": "axiomhive.io/v1alpha1", "kind": "SupervisedTask", "metadata": metadata,
        "spec": {
            "constitutionRef": {"name": constitution},
            "prompt": prompt,
            "runtime": read_object(runtime)?,
        },
    }))
}

fn read_object(path: &Path) -> Result<Value, Failure> {
    let text = if path == Path::new("-") {
        read_stdin("the task")?
    } else {
        read_text(path)?
    };
    let refuse = |error: &dyn std::fmt::Display| {
        let message = format!(
            "{}: must be one YAML or JSON object: {error}",
            path.display()
        );
        Failure::new(Exit::Input, message)
    };
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| refuse(&error))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(refuse(&"it is none"))
    }
}

/// A task, not some other object: this command writes nothing else.
fn task_of(object: Value) -> Result<Value, Failure> {
    if object["apiVersion"] == "axiomhive.io/v1alpha1" && object["kind"] == "SupervisedTask" {
        return Ok(object);
    }
    let must = "the file must hold a SupervisedTask of axiomhive.io/v1alpha1; other objects are for `kubectl apply`";
    Err(Failure::new(Exit::Input, must))
}

/// Creates the task, and prints its name.
pub(super) async fn submit(
    cluster: &Cluster,
    mut object: Value,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let namespace = cluster.namespace.as_str();
    if let Some(other) = object["metadata"]["namespace"].as_str()
        && other != namespace
    {
        let message = format!(
            "the file names the namespace {other}; --namespace must be the same, not {namespace}"
        );
        return Err(Failure::new(Exit::Input, message));
    }
    if object["metadata"]["name"].is_null() && object["metadata"]["generateName"].is_null() {
        object["metadata"]["generateName"] = json!("task-");
    }
    let created: SupervisedTask = bounded(create(cluster, &object)).await?;
    let name = created.metadata.name.unwrap_or_default();
    let uid = created.metadata.uid;
    printer.note(&format!("submitted in namespace {namespace}"));
    printer.result(
        &name,
        &json!({"name": name, "namespace": namespace, "uid": uid}),
    )
}

/// A field that the definition does not know is refused, not dropped.
async fn create(cluster: &Cluster, object: &Value) -> Result<SupervisedTask, kube::Error> {
    let path = SupervisedTask::url_path(&(), Some(&cluster.namespace));
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let parameters = PostParams {
        field_manager: Some("axiom_hive_cli".to_owned()),
        ..PostParams::default()
    };
    let request = Request::new(path).create(&parameters, body);
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    let strict = format!("{}&fieldValidation=Strict", request.uri());
    *request.uri_mut() = strict
        .parse()
        .map_err(|error: http::uri::InvalidUri| kube::Error::HttpError(error.into()))?;
    cluster.client.request(request).await
}

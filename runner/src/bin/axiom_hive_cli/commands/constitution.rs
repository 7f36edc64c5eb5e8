//! `constitution check | digest | show | render`.

use axiom_hive_core::interceptor::RuleSet;
use axiom_hive_runner::exit::{Exit, Failure};
use serde_json::json;

use crate::args::ConstitutionCommand;
use crate::input::read_constitution;
use crate::output::Printer;

pub(crate) fn run(command: &ConstitutionCommand, printer: &Printer) -> Result<Exit, Failure> {
    let (ConstitutionCommand::Check { file }
    | ConstitutionCommand::Digest { file }
    | ConstitutionCommand::Show { file }
    | ConstitutionCommand::Render { file }) = command;
    let constitution = read_constitution(file)?;
    let digest = constitution.digest();
    let name = &constitution.meta.name;
    let version = &constitution.meta.version;
    match command {
        ConstitutionCommand::Check { .. } => printer.result(
            &format!("{}: {name} {version} is valid ({digest})", file.display()),
            &json!({"valid": true, "name": name, "version": version, "digest": digest}),
        ),
        ConstitutionCommand::Digest { .. } => {
            printer.result(&digest.to_string(), &json!({"digest": digest}))
        }
        ConstitutionCommand::Render { .. } => {
            let object = constitution.to_object();
            // Texts stand as they are: nothing in a pattern or a term is folded.
            let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
            let yaml = serde_saphyr::to_string_with_options(&object, options)
                .map_err(Failure::with(Exit::Bug))?;
            printer.result(&yaml, &object)
        }
        ConstitutionCommand::Show { .. } => {
            let rules = RuleSet::compile(
                &constitution.policy,
                &constitution.interceptor,
                constitution.meta.catalogue,
            )
            // `parse` compiled the same rules a moment ago.
            .map_err(|_| {
                Failure::new(Exit::Bug, "the rules of a valid constitution must compile")
            })?;
            let canonical = String::from_utf8_lossy(&constitution.canonical_json()).into_owned();
            let hold_back_bytes = rules.hold_back_bytes();
            let ascii = rules.hold_back_ascii_bytes();
            let text = format!(
                "name       {name}\nversion    {version}\ndigest     {digest}\n\
                 catalogue  {}\nrules      {}\nhold-back  {ascii} bytes of ASCII, at most {hold_back_bytes}\n\
                 canonical  {canonical}",
                constitution.meta.catalogue,
                rules.rules().len(),
            );
            let value = json!({
                "name": name, "version": version, "digest": digest,
                "catalogue": constitution.meta.catalogue, "rules": rules.rules().len(),
                "holdBackBytes": hold_back_bytes, "holdBackAsciiBytes": ascii, "canonical": canonical,
            });
            printer.result(&text, &value)
        }
    }
}

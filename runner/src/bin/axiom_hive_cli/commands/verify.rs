//! `verify`: a whole ledger, or one receipt offline.

use std::fmt::Write as _;
use std::path::Path;

use axiom_hive_core::record::{Opening, Receipt, VerifiedReceipt};
use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::ledger::verify_archive as check_archive;
use serde_json::json;

use crate::args::VerifyArgs;
use crate::input::{read_file, read_text};
use crate::output::Printer;

pub(crate) fn verify(args: &VerifyArgs, printer: &Printer) -> Result<Exit, Failure> {
    let key = args.key.as_deref().map(read_key).transpose()?;
    if let (Some(archive), Some(key)) = (&args.archive, &key) {
        return verify_archive(archive, key, printer);
    }
    match (&args.ledger_dir, &args.receipt, key) {
        (_, Some(receipt), Some(key)) => verify_receipt(receipt, &key, args, printer),
        (Some(dir), _, key) => {
            super::ledger::verify(dir, key.as_ref(), args.predecessor.as_deref(), printer)
        }
        // The grammar asks for one of the two, and for a key with a receipt.
        _ => Err(Failure::new(
            Exit::Input,
            "name a ledger directory, or --receipt with --key",
        )),
    }
}

/// A vkey, or a file that holds one.
pub(super) fn read_key(text: &str) -> Result<VerifyingKey, Failure> {
    let key = match text.trim().parse() {
        Ok(key) => return Ok(key),
        Err(error) if !Path::new(text).is_file() => {
            return Err(Failure::new(Exit::Input, format!("--key: {error}")));
        }
        Err(_) => read_text(Path::new(text))?,
    };
    key.trim()
        .parse()
        .map_err(|error| Failure::new(Exit::Input, format!("{text}: {error}")))
}

fn verify_archive(dir: &Path, key: &VerifyingKey, printer: &Printer) -> Result<Exit, Failure> {
    let report = check_archive(dir, key).map_err(Failure::with(Exit::Verification))?;
    let is_ok = report.problems.is_empty();
    let verdict = if is_ok { "verified" } else { "FAILED" };
    let mut text = format!(
        "{verdict}\nrecords        {}\nroot           {}\nfiles          {}\nconstitutions  {}\n",
        report.size, report.root, report.files, report.constitutions
    );
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    for problem in &problems {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "problem: {problem}");
    }
    let json = json!({
        "verdict": verdict, "ok": is_ok, "size": report.size, "root": report.root,
        "files": report.files, "constitutions": report.constitutions, "problems": problems,
    });
    printer.result(&text, &json)?;
    Ok(if is_ok { Exit::Ok } else { Exit::Verification })
}

fn verify_receipt(
    path: &Path,
    key: &VerifyingKey,
    args: &VerifyArgs,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let failed = |what: &Path, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Verification, format!("{}: {error}", what.display()))
    };
    let receipt = Receipt::parse(&read_text(path)?).map_err(|error| failed(path, &error))?;
    let verified = receipt.verify(key).map_err(|error| failed(path, &error))?;
    let mut checked = vec!["record", "inclusion", "signature"];
    if let Some(opening_path) = &args.opening {
        let opening = Opening::from_canonical(&read_file(opening_path)?)
            .map_err(|error| failed(opening_path, &error))?;
        let read = |path: &Option<_>| path.as_deref().map(read_file).transpose();
        let (prompt, answer) = (read(&args.prompt)?, read(&args.answer)?);
        opening
            .verify(&verified.record, prompt.as_deref(), answer.as_deref())
            .map_err(|error| failed(opening_path, &error))?;
        checked.push("opening");
        checked.extend(prompt.map(|_| "prompt"));
        checked.extend(answer.map(|_| "answer"));
    }
    print_verified(&verified, &checked, printer)
}

pub(super) fn print_verified(
    verified: &VerifiedReceipt,
    checked: &[&str],
    printer: &Printer,
) -> Result<Exit, Failure> {
    let VerifiedReceipt {
        record,
        index,
        checkpoint,
    } = verified;
    let kind = super::ledger::kind(record);
    let mut text = format!(
        "verified: {}\nrecord {index} of {} (tree size {}): {kind}\n",
        checked.join(", "),
        checkpoint.origin,
        checkpoint.size,
    );
    if let Some(outcome) = record.outcome() {
        let constitution = &outcome.decided.constitution;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "task {} under constitution {} {} ({})",
            outcome.task.uid, constitution.name, constitution.version, constitution.digest
        );
    }
    let value = json!({
        "verified": checked, "index": index, "origin": checkpoint.origin,
        "treeSize": checkpoint.size, "record": record,
    });
    printer.result(&text, &value)
}

//! Checkpoints, each properly signed: what is wrong is what they say.

use axiom_hive_core::tlog::MemTree;

use crate::format::{CheckpointCase, Verdict, encode, write};
use crate::keys::{LOG, NAMESAKE, OTHER, WITNESS};

const TEXT: &str = "tlog-checkpoint, Note text";
const SIGNATURES: &str = "tlog-checkpoint, Signatures";
const EMPTY: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

pub(crate) fn signed(text: &str) -> String {
    format!("{text}\n{}", LOG.line(text))
}

fn refused(result: Verdict, section: &str, comment: &str, note: String) -> CheckpointCase {
    CheckpointCase {
        comment: comment.to_owned(),
        section: section.to_owned(),
        result,
        vkey: LOG.vkey(),
        note,
        origin: None,
        size: None,
        root: None,
        extensions: None,
    }
}

fn valid(
    section: &str,
    comment: &str,
    size: &str,
    root: &str,
    more: &[&str],
    lines: &[&str],
) -> CheckpointCase {
    let extensions: Vec<String> = more.iter().map(|line| (*line).to_owned()).collect();
    let mut text = of(size, root);
    for line in more {
        text.extend([*line, "\n"]);
    }
    let note = format!("{}{}", signed(&text), lines.concat());
    CheckpointCase {
        origin: Some(LOG.name.to_owned()),
        size: Some(size.to_owned()),
        root: Some(root.to_owned()),
        extensions: Some(extensions),
        ..refused(Verdict::Valid, section, comment, note)
    }
}

pub(crate) fn checkpoints(tree: &MemTree) -> String {
    let five = tree.root_at(5).unwrap().to_string();
    let mut cases = Vec::new();
    cases.push(valid(TEXT, "the empty tree", "0", EMPTY, &[], &[]));
    for size in [
        "1",
        "9",
        "10",
        "4294967296",
        "9007199254740991",
        "9007199254740993",
        "9223372036854775807",
    ] {
        cases.push(valid(
            TEXT,
            "a size within the bounds",
            size,
            &five,
            &[],
            &[],
        ));
    }
    let long = "a".repeat(1000);
    for (comment, more) in [
        ("an extension line", vec!["extension"]),
        ("two extension lines", vec!["one", "two"]),
        ("an extension line of a space", vec![" "]),
        ("an extension line that is not ASCII", vec!["розширення"]),
        ("a long extension line", vec![long.as_str()]),
        (
            "an extension line that looks like a checkpoint's",
            vec!["example.com/other", "7", EMPTY],
        ),
    ] {
        cases.push(valid(TEXT, comment, "5", &five, &more, &[]));
    }
    let text = format!("{}\n5\n{five}\n", LOG.name);
    let (other, witness) = (OTHER.line(&text), WITNESS.line(&text));
    cases.push(valid(
        SIGNATURES,
        "with a cosignature",
        "5",
        &five,
        &[],
        &[&witness],
    ));
    cases.push(valid(
        SIGNATURES,
        "with unknown signatures",
        "5",
        &five,
        &[],
        &[&other, &NAMESAKE.line(&text)],
    ));
    cases.extend(wrong_texts(&five));
    cases.extend(wrong_signers(&five));
    let about = "Checkpoints; all but the last ones are properly signed.";
    write(about, "https://c2sp.org/tlog-checkpoint", &cases)
}

fn of(size: &str, root: &str) -> String {
    format!("{}\n{size}\n{root}\n", LOG.name)
}

/// A signed text, and what is wrong with it.
type Text = (Verdict, String, &'static str);

fn wrong_texts(root: &str) -> Vec<CheckpointCase> {
    let texts = [wrong_sizes(root), wrong_roots(root), wrong_lines(root)];
    let case = |(result, text, comment): Text| refused(result, TEXT, comment, signed(&text));
    texts.into_iter().flatten().map(case).collect()
}

fn wrong_sizes(root: &str) -> Vec<Text> {
    let sizes = [
        ("", "an empty size"),
        ("05", "a leading zero"),
        ("00", "two zeros"),
        ("+5", "a plus sign"),
        ("-5", "a minus sign"),
        ("-0", "a negative zero"),
        (" 5", "a space before the size"),
        ("5 ", "a space after the size"),
        ("5.0", "a fraction"),
        ("5e0", "an exponent"),
        ("0x5", "a hexadecimal size"),
        ("5_000", "a separator"),
        ("five", "a word"),
        ("\u{665}", "a digit that is not ASCII"),
    ];
    sizes
        .map(|(size, comment)| (Verdict::Invalid, of(size, root), comment))
        .into()
}

fn wrong_roots(root: &str) -> Vec<Text> {
    let short = encode([7; 31]);
    let long = encode([7; 33]);
    let hex = "07".repeat(32);
    let alphabet = encode([0xff; 32]);
    [
        ("", "an empty root"),
        (&short, "a root of 31 bytes"),
        (&long, "a root of 33 bytes"),
        (&hex, "a root in hexadecimal"),
        (root.trim_end_matches('='), "a root without its padding"),
        (&format!("{root}="), "a root with too much padding"),
        (
            &alphabet.replace('/', "_"),
            "a root in another alphabet of base64",
        ),
        (&format!(" {root}"), "a space before the root"),
        (&format!("{root} "), "a space after the root"),
    ]
    .map(|(root, comment)| (Verdict::Invalid, of("5", root), comment))
    .into()
}

fn wrong_lines(root: &str) -> Vec<Text> {
    let name = LOG.name;
    let slack = encode([7; 32]).replace("c=", "d=");
    vec![
        (Verdict::Invalid, format!("{name}\n"), "only an origin"),
        (Verdict::Invalid, format!("{name}\n5\n"), "no root"),
        (Verdict::Invalid, format!("{name}\n{root}\n"), "no size"),
        (
            Verdict::Invalid,
            format!("{name}\n{root}\n5\n"),
            "root before size",
        ),
        (
            Verdict::Invalid,
            format!("\n5\n{root}\n"),
            "an empty origin",
        ),
        (Verdict::Invalid, format!("5\n{root}\n"), "no origin"),
        (
            Verdict::Invalid,
            format!("{name} \n5\n{root}\n"),
            "a space after the origin: another log",
        ),
        (
            Verdict::Invalid,
            format!("{name}\n\n5\n{root}\n"),
            "an empty line",
        ),
        (
            Verdict::Invalid,
            format!("{}\n", of("5", root)),
            "an empty extension line",
        ),
        (
            Verdict::Invalid,
            format!("{}one\n\ntwo\n", of("5", root)),
            "an empty line among the extensions",
        ),
        (
            Verdict::Invalid,
            of("5", root).replace('\n', "\r\n"),
            "lines that end in CR and LF",
        ),
        (
            Verdict::Invalid,
            format!("{}a\tb\n", of("5", root)),
            "a tab in an extension line",
        ),
        (
            Verdict::Acceptable,
            of("5", &slack),
            "a root with unused bits that are not zero",
        ),
        (
            Verdict::Acceptable,
            of("9223372036854775808", root),
            "2^63: more than a signed 64-bit size can say",
        ),
        (
            Verdict::Acceptable,
            of("18446744073709551615", root),
            "2^64 - 1",
        ),
        (
            Verdict::Acceptable,
            of("18446744073709551616", root),
            "2^64: more than 64 bits can say",
        ),
        (
            Verdict::Acceptable,
            of("0", root),
            "the empty tree under a root that it cannot have",
        ),
    ]
}

fn wrong_signers(root: &str) -> Vec<CheckpointCase> {
    let text = format!("{}\n5\n{root}\n", LOG.name);
    let other = text.replace(LOG.name, OTHER.name);
    let invalid = |comment, note| refused(Verdict::Invalid, SIGNATURES, comment, note);
    vec![
        invalid("not signed", format!("{text}\n")),
        invalid("without an empty line", text.clone()),
        invalid(
            "signed by another key",
            format!("{text}\n{}", OTHER.line(&text)),
        ),
        invalid(
            "signed by a namesake",
            format!("{text}\n{}", NAMESAKE.line(&text)),
        ),
        invalid(
            "cosigned, but not signed by the log",
            format!("{text}\n{}", WITNESS.line(&text)),
        ),
        invalid(
            "the signature is of a smaller tree",
            format!("{text}\n{}", LOG.line(&text.replace('5', "4"))),
        ),
        refused(
            Verdict::Acceptable,
            SIGNATURES,
            "signed by the log, but of another origin: key name and origin SHOULD match",
            signed(&other),
        ),
    ]
}

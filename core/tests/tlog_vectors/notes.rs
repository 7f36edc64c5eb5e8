//! Signed notes.

use crate::format::{NoteCase, SignerOf, Verdict, decode, encode, write};
use crate::keys::{COSIGNATURE, LOG, NAMESAKE, NOTE, OTHER, TIME, TestKey, WITNESS, line};

const FORMAT: &str = "signed-note, Format";
const SIGNATURES: &str = "signed-note, Signatures";

/// A note and what it must give.
struct Cases(Vec<NoteCase>);

impl Cases {
    fn push(
        &mut self,
        result: Verdict,
        section: &str,
        comment: &str,
        well_formed: bool,
        note: &str,
    ) {
        self.0.push(NoteCase {
            comment: comment.to_owned(),
            section: section.to_owned(),
            result,
            well_formed,
            keys: vec![LOG.vkey(), WITNESS.vkey()],
            note: note.to_owned(),
            text: None,
            signers: None,
        });
    }

    /// Valid, signed by these of the keys.
    fn valid(&mut self, section: &str, comment: &str, text: &str, lines: &str, signers: &[usize]) {
        self.push(
            Verdict::Valid,
            section,
            comment,
            true,
            &format!("{text}\n{lines}"),
        );
        let case = self.0.last_mut().unwrap();
        case.text = Some(text.to_owned());
        let signer = |key: &usize| SignerOf {
            key: *key,
            timestamp: (*key == 1).then(|| TIME.to_string()),
        };
        case.signers = Some(signers.iter().map(signer).collect());
    }

    fn invalid(&mut self, section: &str, comment: &str, note: &str) {
        self.push(Verdict::Invalid, section, comment, true, note);
    }

    fn malformed(&mut self, comment: &str, note: &str) {
        self.push(Verdict::Invalid, FORMAT, comment, false, note);
    }
}

const TEXT: &str = "example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";

pub(crate) fn notes() -> String {
    let mut cases = Cases(Vec::new());
    valid_texts(&mut cases);
    valid_signatures(&mut cases);
    wrong_signatures(&mut cases);
    wrong_cosignatures(&mut cases);
    doubtful_signatures(&mut cases);
    wrong_forms(&mut cases);
    wrong_lines(&mut cases);
    write(
        "Signed notes, with the keys that the reader trusts.",
        NOTE,
        &cases.0,
    )
}

fn valid_texts(cases: &mut Cases) {
    for (comment, text) in [
        ("one line", "hello\n"),
        ("an empty text line", "\n"),
        ("empty lines in the text", "a\n\n\nb\n"),
        ("a text that ends in empty lines", "a\n\n\n"),
        (
            "a text that is not ASCII",
            "Ognuno sta solo, ed è subito sera — 夜\n",
        ),
        (
            "DEL, NEL and the line separator are no ASCII control characters",
            "a\u{7f}\u{85}\u{2028}b\n",
        ),
        ("spaces at both ends of a line", "  a  \n"),
        ("a text that begins with a byte order mark", "\u{feff}a\n"),
        (
            "a text that looks like a signature line",
            "— example.com/log AAAAAAAA\n",
        ),
    ] {
        cases.valid(FORMAT, comment, text, &LOG.line(text), &[0]);
    }
    let quoted = format!("a\n\n{}", OTHER.line("a\n"));
    cases.valid(
        FORMAT,
        "a whole note as a text",
        &quoted,
        &LOG.line(&quoted),
        &[0],
    );
}

fn valid_signatures(cases: &mut Cases) {
    let (log, other, witness) = (LOG.line(TEXT), OTHER.line(TEXT), WITNESS.line(TEXT));
    let mut valid = |section: &str, comment: &str, lines: &[&str], signers: &[usize]| {
        cases.valid(section, comment, TEXT, &lines.concat(), signers);
    };
    valid(
        SIGNATURES,
        "a line of an unknown key after it",
        &[&log, &other],
        &[0],
    );
    valid(
        SIGNATURES,
        "a line of an unknown key before it",
        &[&other, &log],
        &[0],
    );
    let namesake = NAMESAKE.line(TEXT);
    valid(
        SIGNATURES,
        "an unknown key with the name of a known one",
        &[&namesake, &log],
        &[0],
    );
    let same_id = line("example.com/other", &LOG.material(TEXT));
    valid(
        SIGNATURES,
        "an unknown key with the id of a known one",
        &[&same_id, &log],
        &[0],
    );
    let nonsense = line("example.com/x", &encode([9; 5]));
    valid(
        SIGNATURES,
        "a signature of one byte by an unknown key",
        &[&nonsense, &log],
        &[0],
    );
    let wide = line("example.com/pq", &encode(vec![9; 2424]));
    valid(
        SIGNATURES,
        "a long signature by an unknown key",
        &[&wide, &log],
        &[0],
    );
    valid(SIGNATURES, "the same line twice", &[&log, &log], &[0]);
    let many: Vec<String> = (0..15)
        .map(|n| line(&format!("example.com/{n}"), &encode([n; 68])))
        .collect();
    let sixteen: Vec<&str> = many
        .iter()
        .map(String::as_str)
        .chain([log.as_str()])
        .collect();
    valid(
        SIGNATURES,
        "16 signatures: every reader must take as many",
        &sixteen,
        &[0],
    );
    valid(
        COSIGNATURE,
        "a log and a witness",
        &[&log, &witness],
        &[0, 1],
    );
    valid(COSIGNATURE, "a witness first", &[&witness, &log], &[0, 1]);
    valid(COSIGNATURE, "a witness alone", &[&witness], &[1]);
    valid(
        COSIGNATURE,
        "a witness twice",
        &[&witness, &log, &witness],
        &[0, 1],
    );
    let extended = format!("{TEXT}extension\n");
    let lines = [LOG.line(&extended), WITNESS.line(&extended)].concat();
    cases.valid(
        COSIGNATURE,
        "the witness signs the extension lines too",
        &extended,
        &lines,
        &[0, 1],
    );
}

/// `line` of `key` with a changed signature.
fn forged(key: &TestKey, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut material = decode(&key.material(TEXT));
    change(&mut material);
    line(key.name, &encode(material))
}

fn note(lines: &[&str]) -> String {
    format!("{TEXT}\n{}", lines.concat())
}

fn wrong_signatures(cases: &mut Cases) {
    let (log, other) = (LOG.line(TEXT), OTHER.line(TEXT));
    let foreign = encode([LOG.id(), OTHER.signature(TEXT, 0)].concat());
    let of_log = |change: &dyn Fn(&mut Vec<u8>)| note(&[&forged(&LOG, change)]);
    let namesake = NAMESAKE.line(TEXT);
    let elsewhere = LOG.line("other\n");
    for (comment, note) in [
        ("no known key signed", note(&[&other])),
        ("only a namesake signed", note(&[&namesake])),
        (
            "a bit of the signature is flipped",
            of_log(&|it| it[40] ^= 1),
        ),
        ("the signature is of another text", note(&[&elsewhere])),
        (
            "the signature of another key",
            note(&[&line(LOG.name, &foreign)]),
        ),
        ("a signature of 63 bytes", of_log(&|it| it.truncate(67))),
        ("a signature of 65 bytes", of_log(&|it| it.push(0))),
        ("all zeros", of_log(&|it| it[4..].fill(0))),
        (
            "S is not below the order of the group: RFC 8032 section 5.1.7",
            of_log(&|it| add_order(it)),
        ),
        (
            "a space was added to the text",
            format!("{} \n\n{log}", TEXT.trim_end()),
        ),
        (
            "an empty line was added to the text",
            format!("{TEXT}\n\n{log}"),
        ),
    ] {
        cases.invalid(SIGNATURES, comment, &note);
    }
    // Nobody is trusted.
    cases.invalid(SIGNATURES, "no key is known", &note(&[&log]));
    cases.0.last_mut().unwrap().keys.clear();
}

fn wrong_cosignatures(cases: &mut Cases) {
    let of_witness = |change: &dyn Fn(&mut Vec<u8>)| note(&[&forged(&WITNESS, change)]);
    let signed = |signature| {
        let material = encode([WITNESS.id(), signature].concat());
        note(&[&line(WITNESS.name, &material)])
    };
    let plain = TestKey {
        signature_type: 1,
        ..WITNESS
    }
    .signature(TEXT, 0);
    for (comment, note) in [
        (
            "a bit of the cosignature is flipped",
            of_witness(&|it| it[40] ^= 1),
        ),
        ("the time was changed", of_witness(&|it| it[11] ^= 1)),
        (
            "a cosignature without a time",
            of_witness(&|it| drop(it.drain(4..12))),
        ),
        ("the time alone", of_witness(&|it| it.truncate(12))),
        ("the witness's key signed as a log does", signed(plain)),
        (
            "a time over 2^63 - 1",
            signed(WITNESS.signature(TEXT, 1 << 63)),
        ),
    ] {
        cases.invalid(COSIGNATURE, comment, &note);
    }
}

/// Where the specification says SHOULD.
fn doubtful_signatures(cases: &mut Cases) {
    let log = LOG.line(TEXT);
    let bad = forged(&LOG, |bytes| bytes[40] ^= 1);
    let bad_witness = forged(&WITNESS, |bytes| bytes[40] ^= 1);
    for (comment, note) in [
        (
            "one known key signed rightly, another wrongly: SHOULD be refused",
            note(&[&log, &bad_witness]),
        ),
        (
            "the same key rightly and then wrongly: SHOULD be refused",
            note(&[&log, &bad]),
        ),
        (
            "the same key wrongly and then rightly: SHOULD be refused",
            note(&[&bad, &log]),
        ),
    ] {
        cases.push(Verdict::Acceptable, SIGNATURES, comment, true, &note);
    }
}

/// The same signature by another number: S plus the order of the group.
fn add_order(material: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, order) in material[36..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}

fn wrong_forms(cases: &mut Cases) {
    let log = LOG.line(TEXT);
    let good = format!("{TEXT}\n{log}");
    for (comment, note) in [
        ("empty", String::new()),
        ("a newline", "\n".to_owned()),
        ("a text without signatures", TEXT.to_owned()),
        ("a text and an empty line", format!("{TEXT}\n")),
        (
            "no empty line before the signatures",
            format!("{TEXT}{log}"),
        ),
        ("no newline at the end", good.trim_end().to_owned()),
        ("an empty line at the end", format!("{good}\n")),
        ("a text line at the end", format!("{good}end\n")),
        ("lines end in CR and LF", good.replace('\n', "\r\n")),
        ("only signatures", log.clone()),
    ] {
        cases.malformed(comment, &note);
    }
    for (comment, text) in [
        ("a NUL in the text", "a\0b\n"),
        ("a tab in the text", "a\tb\n"),
        ("a carriage return in the text", "a\r\n"),
        ("an escape in the text", "a\u{1b}[31m\n"),
        ("a unit separator in the text", "a\u{1f}b\n"),
    ] {
        cases.malformed(comment, &format!("{text}\n{}", LOG.line(text)));
    }
}

fn wrong_lines(cases: &mut Cases) {
    let good = LOG.line(TEXT);
    let material = LOG.material(TEXT);
    let unknown = encode([9; 68]);
    let beside = |line: &str| format!("{TEXT}\n{line}{good}");
    for (comment, line) in [
        (
            "a hyphen for the dash",
            format!("- example.com/x {unknown}\n"),
        ),
        (
            "an en dash for the dash",
            format!("– example.com/x {unknown}\n"),
        ),
        ("no dash", format!("example.com/x {unknown}\n")),
        (
            "no space after the dash",
            format!("—example.com/x {unknown}\n"),
        ),
        (
            "two spaces after the dash",
            format!("—  example.com/x {unknown}\n"),
        ),
        (
            "a space before the dash",
            format!(" — example.com/x {unknown}\n"),
        ),
        (
            "two spaces after the name",
            format!("— example.com/x  {unknown}\n"),
        ),
        (
            "a space at the end of the line",
            format!("— example.com/x {unknown} \n"),
        ),
        ("no name", format!("— {unknown}\n")),
        ("an empty name", format!("—  {unknown}\n")),
        ("a plus sign in the name", line("example.com/x+y", &unknown)),
        (
            "a no-break space in the name",
            line("example.com\u{a0}x", &unknown),
        ),
        (
            "an ideographic space in the name",
            line("example.com\u{3000}x", &unknown),
        ),
        ("a tab in the name", line("example.com\tx", &unknown)),
        ("no signature", "— example.com/x\n".to_owned()),
        ("an empty signature", line("example.com/x", "")),
        (
            "three bytes: not even a key id",
            line("example.com/x", &encode([9; 3])),
        ),
        ("not base64", line("example.com/x", "signature")),
        (
            "base64 without its padding",
            line("example.com/x", unknown.trim_end_matches('=')),
        ),
        (
            "base64 with too much padding",
            line("example.com/x", &format!("{unknown}=")),
        ),
        (
            "padding in the midst",
            line("example.com/x", &format!("{unknown}{unknown}")),
        ),
        (
            "base64 of another alphabet",
            line("example.com/x", &encode([0xff; 66]).replace('/', "_")),
        ),
        (
            "a space in the base64",
            line("example.com/x", &unknown.replacen("CQ", " Q", 1)),
        ),
    ] {
        cases.malformed(&format!("beside a good line: {comment}"), &beside(&line));
    }
    cases.malformed(
        "two signatures on a line",
        &format!("{TEXT}\n— {} {material} {material}\n", LOG.name),
    );
    let cut = format!("{TEXT}\n{good}\n{good}");
    cases.invalid(FORMAT, "the text ends at the last empty line", &cut);
    let mut open = |comment: &str, note: &str| {
        cases.push(Verdict::Acceptable, FORMAT, comment, false, note);
    };
    open(
        "beside a good line: a key id and no signature",
        &beside(&line("example.com/x", &encode([9; 4]))),
    );
    // 68 bytes: the last character before the pad holds two bits that count for nothing.
    let slack = unknown.replace("k=", "l=");
    assert_ne!(slack, unknown);
    open(
        "beside a good line: base64 with unused bits that are not zero",
        &beside(&line("example.com/x", &slack)),
    );
    let many: Vec<String> = (0..100)
        .map(|n| line(&format!("example.com/{n}"), &encode([n; 5])))
        .collect();
    open("101 signatures", &beside(&many.concat()));
}

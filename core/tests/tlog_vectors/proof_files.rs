//! Proof files.

use axiom_hive_core::tlog::{MemTree, inclusion_proof};

use crate::checkpoints::signed;
use crate::format::{ProofFileCase, Verdict, encode, entry, write};
use crate::keys::{LOG, NAMESAKE, OTHER, WITNESS};

const PROOF: &str = "tlog-proof, Format";
const VERIFYING: &str = "tlog-proof, Verifying a tlog proof";

/// A proof file as text, with what it must give.
struct Proof {
    extra: Option<&'static [u8]>,
    index: u64,
    size: u64,
    hashes: Vec<String>,
    checkpoint: String,
}

impl Proof {
    fn of(tree: &MemTree, index: u64, size: u64) -> Self {
        let hashes = inclusion_proof(index, size, tree).unwrap();
        let root = tree.root_at(size).unwrap();
        Self {
            extra: None,
            index,
            size,
            hashes: hashes.iter().map(ToString::to_string).collect(),
            checkpoint: signed(&format!("{}\n{size}\n{root}\n", LOG.name)),
        }
    }

    fn text(&self) -> String {
        let extra = self.extra.map(|extra| format!("extra {}\n", encode(extra)));
        let hashes: Vec<&str> = self.hashes.iter().flat_map(|hash| [hash, "\n"]).collect();
        let hashes = hashes.concat();
        format!(
            "c2sp.org/tlog-proof@v1\n{}index {}\n{hashes}\n{}",
            extra.unwrap_or_default(),
            self.index,
            self.checkpoint
        )
    }

    fn case(&self, result: Verdict, section: &str, comment: &str, file: String) -> ProofFileCase {
        let is_valid = result == Verdict::Valid;
        ProofFileCase {
            comment: comment.to_owned(),
            section: section.to_owned(),
            result,
            vkey: LOG.vkey(),
            entry: encode(entry(self.index)),
            file,
            index: is_valid.then(|| self.index.to_string()),
            size: is_valid.then(|| self.size.to_string()),
            extra: self.extra.filter(|_| is_valid).map(encode),
        }
    }
}

pub(crate) fn proof_files(tree: &MemTree) -> String {
    let mut cases = Vec::new();
    for (index, size) in [
        (0, 1),
        (0, 2),
        (2, 5),
        (4, 5),
        (255, 256),
        (256, 257),
        (33_333, 70_000),
    ] {
        let proof = Proof::of(tree, index, size);
        let comment = format!("entry {index} of {size}");
        cases.push(proof.case(Verdict::Valid, PROOF, &comment, proof.text()));
    }
    let mut proof = Proof::of(tree, 2, 5);
    proof.extra = Some(b"a name");
    cases.push(proof.case(Verdict::Valid, PROOF, "with extra data", proof.text()));
    proof.extra = Some(&[0, 0xff, b'\n']);
    cases.push(proof.case(
        Verdict::Valid,
        PROOF,
        "with extra data of any bytes",
        proof.text(),
    ));
    proof.extra = None;
    let text = proof.checkpoint.split_once("\n\n").unwrap().0.to_owned() + "\n";
    proof.checkpoint = format!(
        "{}{}{}",
        signed(&text),
        OTHER.line(&text),
        WITNESS.line(&text)
    );
    cases.push(proof.case(
        Verdict::Valid,
        PROOF,
        "with signatures of others",
        proof.text(),
    ));
    cases.extend(wrong_files(tree));
    cases.extend(wrong_claims(tree));
    write(
        "Proof files (.tlog-proof).",
        "https://c2sp.org/tlog-proof",
        &cases,
    )
}

fn wrong_files(tree: &MemTree) -> Vec<ProofFileCase> {
    let proof = Proof::of(tree, 2, 5);
    let good = proof.text();
    let hash = proof.hashes[0].as_str();
    let extra = |line: &str| good.replace("index 2", &format!("{line}\nindex 2"));
    let files = [
        (String::new(), "empty"),
        (good.replace("@v1", "@v2"), "another version"),
        (good.replacen("c2sp", "C2SP", 1), "an upper-case first line"),
        (good.split_once('\n').unwrap().1.to_owned(), "no first line"),
        (format!("\n{good}"), "an empty line in front"),
        (
            good.replacen('\n', "\r\n", 1),
            "the first line ends in CR and LF",
        ),
        (good.replace("index 2\n", ""), "no index"),
        (
            good.replace("index 2", "index 02"),
            "a leading zero in the index",
        ),
        (
            good.replace("index 2", "index +2"),
            "an index with a plus sign",
        ),
        (
            good.replace("index 2", "index -2"),
            "an index with a minus sign",
        ),
        (good.replace("index 2", "index "), "an empty index"),
        (good.replace("index 2", "index  2"), "two spaces"),
        (
            good.replace("index 2", "index 2 "),
            "a space after the index",
        ),
        (
            good.replace("index 2", "index two"),
            "an index that is no number",
        ),
        (good.replace("index 2", "Index 2"), "an upper-case letter"),
        (good.replace("index 2", "index 2\nindex 2"), "two indices"),
        (
            good.replace("index 2", "index 18446744073709551618"),
            "an index that is 2 in 64 bits",
        ),
        (extra("extra YQ"), "extra data without padding"),
        (extra("extra !"), "extra data that is not base64"),
        (extra("extra"), "extra without a space"),
        (extra("extra YQ==\nextra YQ=="), "extra data twice"),
        (
            good.replace("index 2", "index 2\nextra YQ=="),
            "extra data after the index",
        ),
        (extra("comment"), "an unknown line"),
        (good.replacen(hash, &hash[..40], 1), "a hash of 30 bytes"),
        (
            good.replacen(hash, hash.trim_end_matches('='), 1),
            "a hash without its padding",
        ),
        (
            good.replacen(hash, &format!("{hash} "), 1),
            "a space after a hash",
        ),
        (
            good.replacen(hash, &encode([7; 33]), 1),
            "a hash of 33 bytes",
        ),
        (
            good.replacen("\n\n", "\n", 1),
            "no empty line before the checkpoint",
        ),
        (
            good.replacen("\n\n", "\n\n\n", 1),
            "two empty lines before the checkpoint",
        ),
        (
            good.split_once("\n\n").unwrap().0.to_owned() + "\n\n",
            "no checkpoint",
        ),
        (good.trim_end().to_owned(), "no newline at the end"),
        (format!("{good}\n"), "an empty line at the end"),
        (format!("{good}more\n"), "something behind the signatures"),
    ];
    let case = |(file, comment)| proof.case(Verdict::Invalid, PROOF, comment, file);
    files.into_iter().map(case).collect()
}

fn wrong_claims(tree: &MemTree) -> Vec<ProofFileCase> {
    let mut cases = Vec::new();
    let mut wrong = |comment: &str, change: &dyn Fn(&mut Proof)| {
        let right = Proof::of(tree, 2, 5);
        let mut proof = Proof::of(tree, 2, 5);
        change(&mut proof);
        cases.push(right.case(Verdict::Invalid, VERIFYING, comment, proof.text()));
    };
    wrong("the index of another entry", &|it| it.index = 3);
    wrong("an index at the size", &|it| it.index = 5);
    wrong("an index far over the size", &|it| it.index = 1 << 62);
    wrong("a hash is missing", &|it| drop(it.hashes.pop()));
    wrong("no hashes", &|it| it.hashes.clear());
    wrong("a hash twice", &|it| {
        it.hashes.insert(0, it.hashes[0].clone());
    });
    wrong("two hashes swapped", &|it| it.hashes.swap(0, 1));
    wrong("65 hashes more", &|it| {
        it.hashes.extend(vec![encode([0; 32]); 65]);
    });
    wrong("the checkpoint of another size", &|it| {
        it.checkpoint = Proof::of(tree, 2, 6).checkpoint;
    });
    wrong("the checkpoint is changed after it was signed", &|it| {
        it.checkpoint = it.checkpoint.replacen("\n5\n", "\n6\n", 1);
    });
    let by = |line: &dyn Fn(&str) -> String, it: &Proof| {
        let text = it.checkpoint.split_once("\n\n").unwrap().0.to_owned() + "\n";
        format!("{text}\n{}", line(&text))
    };
    wrong("the checkpoint of a namesake", &|it| {
        it.checkpoint = by(&|text| NAMESAKE.line(text), it);
    });
    wrong("only a witness signed the checkpoint", &|it| {
        it.checkpoint = by(&|text| WITNESS.line(text), it);
    });
    wrong("the log signed, but of another origin", &|it| {
        let text = it.checkpoint.split_once("\n\n").unwrap().0.to_owned() + "\n";
        it.checkpoint = signed(&text.replace(LOG.name, OTHER.name));
    });
    let proof = Proof::of(tree, 2, 5);
    let mut other = proof.case(Verdict::Invalid, VERIFYING, "another entry", proof.text());
    other.entry = encode(entry(3));
    let mut longer = proof.case(
        Verdict::Invalid,
        VERIFYING,
        "a byte after the entry",
        proof.text(),
    );
    longer.entry = encode("2\n");
    cases.extend([other, longer]);
    cases
}

//! Texts to be filtered: clean prose, prose dense with findings, and families that aim at the places
//! where a filter would be slow. Made by a small generator with a fixed seed, so that every run
//! measures the same bytes.

/// Bytes of every corpus, about.
pub(crate) const CORPUS_BYTES: usize = 4 << 20;

/// A named text; not always UTF-8.
pub(crate) struct Corpus {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

const WORDS: &[&str] = &[
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "they",
    "be",
    "at",
    "one",
    "have",
    "this",
    "from",
    "or",
    "had",
    "by",
    "word",
    "but",
    "what",
    "some",
    "we",
    "can",
    "out",
    "other",
    "were",
    "all",
    "there",
    "when",
    "up",
    "use",
    "your",
    "how",
    "said",
    "an",
    "each",
    "she",
    "which",
    "their",
    "time",
    "if",
    "will",
    "way",
    "about",
    "many",
    "then",
    "them",
    "write",
    "would",
    "like",
    "so",
    "these",
    "her",
    "long",
    "make",
    "thing",
    "see",
    "him",
    "two",
    "has",
    "look",
    "more",
    "day",
    "could",
    "go",
    "come",
    "did",
    "number",
    "sound",
    "no",
    "most",
    "people",
    "my",
    "over",
    "know",
    "water",
    "than",
    "call",
    "first",
    "who",
    "may",
    "down",
    "side",
    "been",
    "now",
    "find",
    "harbour",
    "policy",
    "committee",
    "although",
    "measure",
    "Thursday",
    "Rotterdam",
    "café",
    "naïve",
    "Zürich",
];

/// What a detector finds, each followed by prose.
const FINDINGS: &[&str] = &[
    "anna.berg@example.com",
    "+44 20 7946 0958",
    "536-22-8726",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "203.0.113.7",
    "2001:db8::8a2e:370:7334",
    "00:1A:2B:3C:4D:5E",
    "AKIAIOSFODNN7EXAMPLE",
];

/// Repeated as they are: each aims at candidates that begin everywhere and end nowhere.
const FAMILIES: &[(&str, &str)] = &[
    ("digits", "4111111111111112"),
    ("digits with spaces", "4111 1111 1111 1112 "),
    ("digits with dashes", "536-22-872-"),
    ("at signs", "a@a@b@"),
    ("dots and letters", "a.b.c.d.e@f.g."),
    (
        "long local parts",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@ ",
    ),
    ("almost IBANs", "DE89 3704 0044 0532 0130 01 GB "),
    ("almost IPv4", "1.2.3.256.1.2.3."),
    ("almost IPv6", "1:2:3:4:5:6:7::"),
    ("almost MACs", "00:1A:2B:3C:4D:"),
    ("phone openings", "+1 (415) 555-"),
    ("key prefixes", "AKIAghp_xoxb-sk_live_AIza"),
    ("JWT openings", "eyJ.eyJ."),
    ("PEM openings", "-----BEGIN PRIVATE KEY"),
    ("bearer headers", "Bearer bearer "),
    (
        "invisible characters",
        "a\u{200b}\u{200b}\u{200b}\u{200b}\u{2060}",
    ),
    ("full-width digits", "４１１１１１１１１１１１１１１２"),
    ("confusable letters", "раураl аррlе "),
    ("combining marks", "e\u{301}\u{302}\u{303}"),
];

/// A linear congruential generator (Knuth's MMIX constants); speed and repeatability, nothing else.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn push_prose(text: &mut String, words: usize, random: &mut Random) {
    for word in 0..words {
        text.push_str(WORDS[random.below(WORDS.len())]);
        text.push_str(if word % 12 == 11 { ".\n" } else { " " });
    }
}

/// Words and full stops; nothing to find.
pub(crate) fn clean_prose() -> Corpus {
    let mut random = Random(1);
    let mut text = String::with_capacity(CORPUS_BYTES + 1024);
    while text.len() < CORPUS_BYTES {
        push_prose(&mut text, 12, &mut random);
    }
    Corpus {
        name: "clean prose",
        bytes: text.into_bytes(),
    }
}

/// A finding after every six words.
pub(crate) fn dense_findings() -> Corpus {
    let mut random = Random(2);
    let mut text = String::with_capacity(CORPUS_BYTES + 1024);
    while text.len() < CORPUS_BYTES {
        push_prose(&mut text, 6, &mut random);
        text.push_str(FINDINGS[random.below(FINDINGS.len())]);
        text.push_str(", ");
    }
    Corpus {
        name: "dense with findings",
        bytes: text.into_bytes(),
    }
}

/// Every adversarial family.
pub(crate) fn families() -> Vec<Corpus> {
    let texts = FAMILIES.iter().map(|(name, unit)| (*name, unit.as_bytes()));
    let broken: &[(&str, &[u8])] = &[
        ("broken UTF-8", b"\xe2\x80\xf0\x9f\x98a"),
        ("continuation bytes", b"\x80\xbf"),
    ];
    texts
        .chain(broken.iter().copied())
        .map(|(name, unit)| Corpus {
            name,
            bytes: unit.repeat(CORPUS_BYTES / unit.len()),
        })
        .collect()
}

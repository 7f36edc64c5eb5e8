//! Hashes, roots and inclusion proofs.

use std::collections::BTreeSet;

use axiom_hive_core::tlog::{
    EMPTY_ROOT, Hash, MAX_TREE_SIZE, MemTree, inclusion_proof, leaf_hash, node_hash,
};

use crate::format::{HashCase, InclusionCase, RootCase, Verdict, encode, entry, write};

pub(crate) const RFC: &str = "https://www.rfc-editor.org/rfc/rfc6962.html";
const TREE: &str = "RFC 6962 section 2.1";
const PATH: &str = "RFC 6962 section 2.1.1";

/// Where trees, tiles and bundles change their form.
pub(crate) const BOUNDARIES: [u64; 22] = [
    127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 65_535,
    65_536, 65_537, 65_792, 65_793, 70_000, 70_001,
];

pub(crate) fn tree(size: u64) -> MemTree {
    let mut tree = MemTree::new();
    for index in 0..size {
        tree.push(leaf_hash(&entry(index)));
    }
    tree
}

pub(crate) fn hashes() -> String {
    let leaf = |comment: &str, entry: &[u8]| HashCase {
        comment: comment.to_owned(),
        section: TREE.to_owned(),
        entry: Some(encode(entry)),
        children: None,
        hash: leaf_hash(entry).to_string(),
    };
    let node = |comment: &str, left: Hash, right: Hash| HashCase {
        comment: comment.to_owned(),
        section: TREE.to_owned(),
        entry: None,
        children: Some([left.to_string(), right.to_string()]),
        hash: node_hash(&left, &right).to_string(),
    };
    let (one, two) = (leaf_hash(&entry(0)), leaf_hash(&entry(1)));
    let like_node = [&[1], one.0.as_slice(), &two.0].concat();
    let mut cases = vec![
        leaf("the empty entry: not the root of the empty tree", b""),
        leaf("one zero byte", &[0]),
        leaf("the prefix of a node", &[1]),
        leaf("one byte over ASCII", &[0xff]),
        leaf(
            "an entry of the 64 bytes of two hashes is not their parent",
            &like_node[1..],
        ),
        leaf(
            "an entry that is what a node hashes, prefix and all, is not that node",
            &like_node,
        ),
        leaf("a line with a newline", b"a line\n"),
        leaf("a line with CR and LF", b"a line\r\n"),
    ];
    // Around the ends of the blocks of SHA-256, with the prefix counted in.
    for length in [54, 55, 56, 62, 63, 64, 118, 119, 120, 127, 128, 1000_usize] {
        let bytes: Vec<u8> = (0..251).cycle().take(length).collect();
        cases.push(leaf(&format!("{length} bytes"), &bytes));
    }
    cases.extend((0..8).map(|index| leaf(&format!("entry {index} of the rule"), &entry(index))));
    cases.push(node("two leaves", one, two));
    cases.push(node("the order of children counts", two, one));
    cases.push(node("the same child twice", one, one));
    cases.push(node("all zeros", Hash([0; 32]), Hash([0; 32])));
    cases.push(node("all ones", Hash([255; 32]), Hash([255; 32])));
    cases.push(node("a node over the empty root", EMPTY_ROOT, one));
    cases.push(node(
        "two nodes",
        node_hash(&one, &two),
        node_hash(&two, &one),
    ));
    write(
        "Hashes of leaves (of the base64 entry) and of nodes.",
        RFC,
        &cases,
    )
}

pub(crate) fn roots(tree: &MemTree) -> String {
    let mut sizes: BTreeSet<u64> = (0..=33).chain([63, 64, 65]).collect();
    sizes.extend(BOUNDARIES);
    let cases: Vec<RootCase> = sizes
        .into_iter()
        .map(|size| RootCase {
            size,
            root: tree.root_at(size).unwrap().to_string(),
        })
        .collect();
    write("Roots of the first entries of the rule.", RFC, &cases)
}

/// One proof, right or not.
struct Inclusion {
    index: u64,
    size: u64,
    leaf: Hash,
    root: Hash,
    proof: Vec<Hash>,
}

impl Inclusion {
    fn of(tree: &MemTree, index: u64, size: u64) -> Self {
        Self {
            index,
            size,
            leaf: tree.leaves()[usize::try_from(index).unwrap()],
            root: tree.root_at(size).unwrap(),
            proof: inclusion_proof(index, size, tree).unwrap(),
        }
    }

    fn case(&self, result: Verdict, comment: &str) -> InclusionCase {
        InclusionCase {
            comment: comment.to_owned(),
            section: PATH.to_owned(),
            result,
            index: self.index.to_string(),
            size: self.size.to_string(),
            leaf: self.leaf.to_string(),
            root: self.root.to_string(),
            proof: texts(&self.proof),
        }
    }

    /// Changed as `change` does.
    fn but(&self, comment: &str, change: impl FnOnce(&mut Self)) -> InclusionCase {
        let mut wrong = Self {
            proof: self.proof.clone(),
            ..*self
        };
        change(&mut wrong);
        wrong.case(Verdict::Invalid, comment)
    }
}

pub(crate) fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

pub(crate) fn flipped(hash: Hash) -> Hash {
    let mut bytes = hash.0;
    bytes[31] ^= 1;
    Hash(bytes)
}

pub(crate) fn inclusion(tree: &MemTree) -> String {
    let mut cases = Vec::new();
    let small = (1..=9).flat_map(|size| (0..size).map(move |index| (index, size)));
    let large = [
        (0, 255),
        (254, 255),
        (0, 256),
        (255, 256),
        (0, 257),
        (255, 257),
        (256, 257),
        (300, 513),
        (512, 513),
        (65_535, 65_536),
        (65_535, 65_537),
        (65_536, 65_537),
        (33_333, 70_000),
        (69_999, 70_000),
    ];
    for (index, size) in small.chain(large) {
        let comment = format!("entry {index} of {size}");
        cases.push(Inclusion::of(tree, index, size).case(Verdict::Valid, &comment));
    }
    for (index, size) in [
        (0, 1 << 32),
        (1 << 32, (1 << 32) + 1),
        (7, (1 << 53) - 1),
        ((1 << 53) - 2, (1 << 53) - 1),
        (1 << 53, (1 << 53) + 1),
        (0, 1 << 62),
        ((1 << 62) - 1, 1 << 62),
        (5, MAX_TREE_SIZE),
        (MAX_TREE_SIZE - 1, MAX_TREE_SIZE),
    ] {
        let comment = "a tree too large to build: the siblings are made up";
        cases.push(huge_inclusion(index, size).case(Verdict::Valid, comment));
    }
    for (index, size) in [(2, 5), (6, 7), (4, 5), (200, 257)] {
        cases.extend(wrong_inclusions(&Inclusion::of(tree, index, size)));
    }
    cases.extend(odd_inclusions(tree));
    write("Inclusion proofs, from the leaf's sibling up.", RFC, &cases)
}

/// A proof whose siblings are arbitrary, and the root that the definition then gives.
fn huge_inclusion(index: u64, size: u64) -> Inclusion {
    fn climb(first: u64, count: u64, index: u64, leaf: Hash, proof: &mut Vec<Hash>) -> Hash {
        if count == 1 {
            return leaf;
        }
        let left = 1 << (count - 1).ilog2();
        let is_right = index - first >= left;
        let below = if is_right {
            climb(first + left, count - left, index, leaf, proof)
        } else {
            climb(first, left, index, leaf, proof)
        };
        let sibling = leaf_hash(format!("sibling {}", proof.len()).as_bytes());
        proof.push(sibling);
        if is_right {
            node_hash(&sibling, &below)
        } else {
            node_hash(&below, &sibling)
        }
    }
    let leaf = leaf_hash(b"leaf");
    let mut proof = Vec::new();
    let root = climb(0, size, index, leaf, &mut proof);
    Inclusion {
        index,
        size,
        leaf,
        root,
        proof,
    }
}

fn wrong_inclusions(right: &Inclusion) -> Vec<InclusionCase> {
    let Inclusion { index, size, .. } = *right;
    let of = |what: &str| format!("entry {index} of {size}: {what}");
    let mut cases = vec![
        right.but(&of("a bit of the root is flipped"), |it| {
            it.root = flipped(it.root);
        }),
        right.but(&of("a bit of the leaf is flipped"), |it| {
            it.leaf = flipped(it.leaf);
        }),
        right.but(&of("the leaf is the root"), |it| it.leaf = it.root),
        right.but(&of("a bit of the first sibling is flipped"), |it| {
            it.proof[0] = flipped(it.proof[0]);
        }),
        right.but(&of("a bit of the last sibling is flipped"), |it| {
            *it.proof.last_mut().unwrap() = flipped(*it.proof.last().unwrap());
        }),
        right.but(&of("no sibling"), |it| it.proof.clear()),
        right.but(&of("the last sibling is missing"), |it| {
            it.proof.pop();
        }),
        right.but(&of("the first sibling is missing"), |it| {
            it.proof.remove(0);
        }),
        right.but(&of("the first sibling twice"), |it| {
            it.proof.insert(0, it.proof[0]);
        }),
        right.but(&of("the root as one sibling more"), |it| {
            it.proof.push(it.root);
        }),
        right.but(&of("a zero hash as one sibling more"), |it| {
            it.proof.push(Hash([0; 32]));
        }),
        right.but(&of("64 siblings more"), |it| {
            it.proof.extend([Hash([0; 32]); 64]);
        }),
        right.but(&of("the index of the next"), |it| it.index += 1),
        right.but(&of("the index of the one before"), |it| it.index -= 1),
        right.but(&of("the index is the size"), |it| it.index = it.size),
        right.but(&of("the index is over the size"), |it| {
            it.index = it.size + 1;
        }),
        right.but(&of("half the size"), |it| it.size /= 2),
        right.but(&of("twice the size"), |it| it.size *= 2),
    ];
    if right.proof.len() > 1 {
        cases.push(right.but(&of("the first two siblings swapped"), |it| {
            it.proof.swap(0, 1);
        }));
        cases.push(right.but(&of("the siblings in reverse"), |it| it.proof.reverse()));
    }
    cases
}

/// What surprises.
fn odd_inclusions(tree: &MemTree) -> Vec<InclusionCase> {
    let mut cases = Vec::new();
    for size in [6, 7, 8] {
        let mut other = Inclusion::of(tree, 0, 5);
        other.size = size;
        let comment = format!(
            "a proof alone does not bind the size: the one of entry 0 of 5 holds for {size} too; \
             what binds it is the checkpoint"
        );
        cases.push(other.case(Verdict::Valid, &comment));
    }
    let one = Inclusion::of(tree, 0, 1);
    cases.push(one.but("the empty tree has no entry", |it| {
        (it.size, it.root) = (0, EMPTY_ROOT);
    }));
    cases.push(
        one.but("another leaf is not the root of a tree of one", |it| {
            it.leaf = leaf_hash(&entry(1));
        }),
    );
    let mut over = huge_inclusion(0, 1 << 62);
    over.size = 1 << 63;
    over.proof.push(Hash([0; 32]));
    over.root = node_hash(&over.root, &Hash([0; 32]));
    let comment = "2^63 entries: more than a signed 64-bit size can say";
    cases.push(over.case(Verdict::Acceptable, comment));
    cases
}

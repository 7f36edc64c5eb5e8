//! Consistency proofs.

use axiom_hive_core::tlog::{
    EMPTY_ROOT, Hash, MAX_TREE_SIZE, MemTree, consistency_proof, leaf_hash, node_hash,
};

use crate::format::{ConsistencyCase, Verdict, write};
use crate::trees::{RFC, flipped, texts};

const CONSISTENCY: &str = "RFC 6962 section 2.1.2";

/// One proof, right or not.
struct Consistency {
    sizes: [u64; 2],
    roots: [Hash; 2],
    proof: Vec<Hash>,
}

impl Consistency {
    fn of(tree: &MemTree, old: u64, new: u64) -> Self {
        Self {
            sizes: [old, new],
            roots: [old, new].map(|size| tree.root_at(size).unwrap()),
            proof: consistency_proof(old, new, tree).unwrap(),
        }
    }

    fn case(&self, result: Verdict, comment: &str) -> ConsistencyCase {
        ConsistencyCase {
            comment: comment.to_owned(),
            section: CONSISTENCY.to_owned(),
            result,
            old_size: self.sizes[0].to_string(),
            new_size: self.sizes[1].to_string(),
            old_root: self.roots[0].to_string(),
            new_root: self.roots[1].to_string(),
            proof: texts(&self.proof),
        }
    }

    fn but(&self, comment: &str, change: impl FnOnce(&mut Self)) -> ConsistencyCase {
        let mut wrong = Self {
            proof: self.proof.clone(),
            ..*self
        };
        change(&mut wrong);
        wrong.case(Verdict::Invalid, comment)
    }
}

pub(crate) fn consistency(tree: &MemTree) -> String {
    let mut cases = Vec::new();
    let small = (1..=8).flat_map(|new| (1..=new).map(move |old| (old, new)));
    let large = [
        (1, 255),
        (255, 256),
        (256, 257),
        (200, 300),
        (256, 512),
        (257, 513),
        (511, 513),
        (1, 65_536),
        (65_535, 65_536),
        (65_536, 65_537),
        (256, 65_537),
        (65_537, 70_000),
        (12_345, 70_000),
        (69_999, 70_000),
        (70_000, 70_000),
    ];
    for (old, new) in small.chain(large) {
        let comment = format!("from {old} to {new}");
        cases.push(Consistency::of(tree, old, new).case(Verdict::Valid, &comment));
    }
    for (old, new) in [
        (3, 1 << 32),
        (1 << 32, (1 << 32) + 1),
        ((1 << 53) - 3, (1 << 53) - 1),
        ((1 << 53) + 1, (1 << 53) + 3),
        (1 << 62, MAX_TREE_SIZE),
        (12_345, MAX_TREE_SIZE),
        (MAX_TREE_SIZE - 1, MAX_TREE_SIZE),
    ] {
        let comment = "trees too large to build: the nodes are made up";
        cases.push(huge_consistency(old, new).case(Verdict::Valid, comment));
    }
    for (old, new) in [(3, 5), (4, 7), (6, 8), (200, 257)] {
        cases.extend(wrong_consistencies(&Consistency::of(tree, old, new)));
    }
    cases.extend(odd_consistencies(tree));
    write("Consistency proofs between two trees.", RFC, &cases)
}

/// Arbitrary nodes, and the two roots that the definition then gives.
fn huge_consistency(old: u64, new: u64) -> Consistency {
    /// Roots of both trees over a part of `count` entries, of which the old one has `known`.
    fn walk(known: u64, count: u64, is_oldest: bool, proof: &mut Vec<Hash>) -> [Hash; 2] {
        if known == count {
            let part = leaf_hash(b"the part that both have");
            if !is_oldest {
                proof.push(part);
            }
            return [part; 2];
        }
        let left = 1 << (count - 1).ilog2();
        let below = if known <= left {
            walk(known, left, is_oldest, proof)
        } else {
            walk(known - left, count - left, false, proof)
        };
        let sibling = leaf_hash(format!("sibling {}", proof.len()).as_bytes());
        proof.push(sibling);
        if known <= left {
            [below[0], node_hash(&below[1], &sibling)]
        } else {
            below.map(|hash| node_hash(&sibling, &hash))
        }
    }
    let mut proof = Vec::new();
    let roots = walk(old, new, true, &mut proof);
    Consistency {
        sizes: [old, new],
        roots,
        proof,
    }
}

fn wrong_consistencies(right: &Consistency) -> Vec<ConsistencyCase> {
    let [old, new] = right.sizes;
    let of = |what: &str| format!("from {old} to {new}: {what}");
    vec![
        right.but(&of("a bit of the old root is flipped"), |it| {
            it.roots[0] = flipped(it.roots[0]);
        }),
        right.but(&of("a bit of the new root is flipped"), |it| {
            it.roots[1] = flipped(it.roots[1]);
        }),
        right.but(&of("the roots swapped"), |it| it.roots.reverse()),
        right.but(&of("the old root twice"), |it| it.roots[1] = it.roots[0]),
        right.but(&of("a bit of the first hash is flipped"), |it| {
            it.proof[0] = flipped(it.proof[0]);
        }),
        right.but(&of("a bit of the last hash is flipped"), |it| {
            *it.proof.last_mut().unwrap() = flipped(*it.proof.last().unwrap());
        }),
        right.but(&of("no hash"), |it| it.proof.clear()),
        right.but(&of("the first hash is missing"), |it| {
            it.proof.remove(0);
        }),
        right.but(&of("the last hash is missing"), |it| {
            it.proof.pop();
        }),
        right.but(&of("the old root in front"), |it| {
            it.proof.insert(0, it.roots[0]);
        }),
        right.but(&of("the new root as one hash more"), |it| {
            it.proof.push(it.roots[1]);
        }),
        right.but(&of("64 hashes more"), |it| {
            it.proof.extend([Hash([0; 32]); 64]);
        }),
        right.but(&of("the hashes in reverse"), |it| {
            it.proof.reverse();
            // One hash reads the same from both ends.
            if it.proof.len() == 1 {
                it.proof.push(it.proof[0]);
            }
        }),
        right.but(&of("the sizes swapped"), |it| it.sizes.reverse()),
        right.but(&of("the old size is that of the new tree"), |it| {
            it.sizes[0] = it.sizes[1];
        }),
        right.but(&of("half the new size"), |it| it.sizes[1] /= 2),
        right.but(&of("twice the new size"), |it| it.sizes[1] *= 2),
    ]
}

fn odd_consistencies(tree: &MemTree) -> Vec<ConsistencyCase> {
    let same = Consistency::of(tree, 7, 7);
    let empty = Consistency {
        sizes: [0, 5],
        roots: [EMPTY_ROOT, tree.root_at(5).unwrap()],
        proof: Vec::new(),
    };
    let nothing = Consistency {
        sizes: [0, 0],
        roots: [EMPTY_ROOT; 2],
        proof: Vec::new(),
    };
    vec![
        same.but("of the same size, with another root", |it| {
            it.roots[1] = flipped(it.roots[1]);
        }),
        same.but("of the same size, with a hash", |it| {
            it.proof.push(it.roots[0]);
        }),
        empty.case(
            Verdict::Acceptable,
            "from the empty tree: RFC 6962 defines proofs from 1 on; every tree begins with it",
        ),
        nothing.case(Verdict::Acceptable, "from the empty tree to itself"),
        empty.but("from the empty tree, with a hash", |it| {
            it.proof.push(it.roots[1]);
        }),
        empty.but("to the empty tree", |it| {
            it.sizes.reverse();
            it.roots.reverse();
        }),
    ]
}

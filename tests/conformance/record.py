"""Records as docs/LEDGER-FORMAT.md describes them: their fields and bounds, and what must hold between them."""

import base64
import hashlib
import json
import re

import ed25519

MAX_INTEGER = 2**53 - 1


class Wrong(Exception):
    """Something does not hold."""


def need(holds, what):
    if not holds:
        raise Wrong(what)


# Types: a function from a value to whether it is one.


def text(pattern):
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def integer(highest=MAX_INTEGER, lowest=0):
    return lambda value: type(value) is int and lowest <= value <= highest


def word(words):
    words = words.split()
    return lambda value: isinstance(value, str) and value in words


def items(kind, highest, lowest=0):
    return lambda value: isinstance(value, list) and lowest <= len(value) <= highest and all(map(kind, value))


def fields(optional=(), **kinds):
    """An object with these fields; those in `optional` may be absent."""

    def holds(value):
        if not isinstance(value, dict) or not value.keys() <= kinds.keys():
            return False
        missing = kinds.keys() - value.keys()
        return missing <= set(optional) and all(kinds[name](found) for name, found in value.items())

    return holds


def commitment(value):
    if not text(r"[A-Za-z0-9+/]{43}=")(value):
        return False
    return base64.b64encode(base64.b64decode(value)).decode() == value


def log_key(value):
    """A verifier key of type Ed25519 under a name of printable ASCII."""
    if not text(r"[!#-*,-\[\]-~]{1,256}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}")(value):
        return False
    name, key_id, encoded = value.split("+", 2)
    data = base64.b64decode(encoded)
    is_named = hashlib.sha256(name.encode() + b"\n" + data).hexdigest()[:8] == key_id
    return is_named and data[0] == 1 and ed25519.is_key(data[1:])


def ratio(value):
    return text(r"1|0\.[0-9]{0,8}[1-9]")(value)


ANY = integer()
DIGEST = text(r"sha256:[0-9a-f]{64}")
TASK = fields(uid=text(r"[A-Za-z0-9._-]{1,64}"), attempt=integer(1000))
CONSTITUTION = fields(
    name=text(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
    version=text(r"[A-Za-z0-9.+-]{1,64}"),
    digest=DIGEST,
    catalogue=integer(2**32 - 1),
)
BUILD = fields(version=text(r"[A-Za-z0-9.+-]{1,32}"), executable=DIGEST)
RUNTIME = fields(kind=word("process http openai echo"), spec=commitment)
FINDINGS = fields(spans=ANY, words=ANY, bytes=ANY, invisibleCut=ANY)
BRANCH = fields(
    ("error", "text", "bytes", "class"),
    **{
        "result": word("answer abstain blocked failed"),
        "error": word(
            "unavailable timeout tooLong empty notUtf8 malformed exitStatus signal httpStatus reported lost egress"
        ),
        "text": commitment,
        "bytes": ANY,
        "class": ANY,
    },
)
VOTE = fields(
    ("leaderClass",),
    asked=integer(64, 1),
    committed=ANY,
    valid=ANY,
    leader=ANY,
    leaderClass=ANY,
    runnerUp=ANY,
    ratio=ratio,
)
ANSWER = fields(
    text=commitment,
    bytes=ANY,
    source=word("branchText branchTextKeyOnly agreedValue fallback"),
    removed=FINDINGS,
    hashKey=commitment,
)
REASONS = {
    "answered": "agreed",
    "withheld": "noAgreement tie tooFewValid policyWithheld budgetSpent",
    "refused": "promptEmpty promptTooLong promptWithheld notAllowed",
    "failed": "runtimeFailed deadlineExceeded containmentFailed interrupted",
    "attempt": "runtimeFailed deadlineExceeded containmentFailed interrupted",
    "cancelled": "cancelled",
}
OBSERVED = fields(
    ("usage", "egress", "stoppedBy", "detail"),
    build=BUILD,
    startedUnixMs=ANY,
    endedUnixMs=ANY,
    containment=fields(
        requested=word("required bestEffort off"),
        reached=word("none partial strict notApplicable"),
        landlockAbi=integer(2**32 - 1),
        loopbackPort=integer(65535),
    ),
    usage=fields(promptTokens=ANY, completionTokens=ANY, branchMs=ANY),
    egress=fields(
        targets=items(fields(connections=ANY, unreachable=ANY, sentBytes=ANY, receivedBytes=ANY), 32),
        refused=fields(malformed=ANY, unlisted=ANY, address=ANY, serverName=ANY, limit=ANY),
    ),
    surplusBranches=integer(64),
    stoppedBy=word("deadline cancel containment interrupted"),
    detail=commitment,
)


def decided(kind):
    return fields(
        ("promptFindings", "vote", "answer"),
        constitution=CONSTITUTION,
        spec=DIGEST,
        runtime=RUNTIME,
        prompt=commitment,
        promptFindings=FINDINGS,
        reason=word(REASONS[kind]),
        branches=items(BRANCH, 64),
        vote=VOTE,
        answer=ANSWER,
    )


def kind_of(name, optional=(), **kinds):
    return fields(optional, schema=word("axiomhive.io/record/v1"), kind=word(name), **kinds)


KINDS = {
    "constitution": kind_of("constitution", constitution=CONSTITUTION, text=commitment),
    "intent": kind_of(
        "intent",
        task=TASK,
        constitution=CONSTITUTION,
        spec=DIGEST,
        runtime=RUNTIME,
        taskText=commitment,
        prompt=commitment,
        observed=fields(("podUid",), atUnixMs=ANY, build=BUILD, podUid=text(r"[A-Za-z0-9-]{1,64}")),
    ),
    "deleted": kind_of("deleted", task=TASK, endedIndex=ANY, atUnixMs=ANY),
    "erasure": kind_of("erasure", erasedIndex=ANY, commitments=items(commitment, 256, 1), atUnixMs=ANY),
    "sealed": kind_of("sealed", ("successor",), successor=log_key, atUnixMs=ANY),
    "succession": kind_of(
        "succession",
        predecessor=fields(key=log_key, size=integer(lowest=1), root=commitment),
        reason=word("size calendar key other"),
        atUnixMs=ANY,
    ),
} | {name: kind_of(name, task=TASK, decided=decided(name), observed=OBSERVED) for name in REASONS}


def check_branches(branches):
    for index, branch in enumerate(branches):
        is_failed = branch["result"] == "failed"
        need(("error" in branch) == is_failed, "an error exactly when failed")
        need(all((name in branch) != is_failed for name in ("text", "bytes")), "a text exactly when not failed")
        need(("class" in branch) == (branch["result"] == "answer"), "a class exactly for an answer")
        lowest = branch.get("class", index)
        is_named = lowest <= index and branches[lowest].get("class", lowest) == lowest
        need(is_named and ("class" not in branch or "class" in branches[lowest]), "a class is its lowest branch")


def check_vote(vote, count):
    need(vote["committed"] == count <= vote["asked"], "the vote is over the branches")
    need(vote["runnerUp"] <= vote["leader"] <= vote["valid"] <= count, "runnerUp ≤ leader ≤ valid ≤ committed")
    need(("leaderClass" in vote) == (vote["leader"] > 0), "a leading class where there is a leader")
    need(vote.get("leaderClass", -1) < count, "the leading class is a branch")


def check_outcome(kind, outcome):
    check_branches(outcome["branches"])
    if "vote" in outcome:
        check_vote(outcome["vote"], len(outcome["branches"]))
    source = outcome.get("answer", {}).get("source")
    if kind == "answered":
        need(source not in (None, "fallback"), "an answer when answered")
    else:
        need(source is None or (kind, source) == ("withheld", "fallback"), "no answer, or a fallback when withheld")


def once(pairs):
    found = dict(pairs)
    need(len(found) == len(pairs), "no key twice")
    return found


def never(_):
    raise Wrong("no floats")


def read(data):
    """The record of canonical bytes."""
    need(len(data) <= 16384, "a record has at most 16384 bytes")
    source = data.decode()
    try:
        record = json.loads(source, object_pairs_hook=once, parse_float=never, parse_constant=never)
    except RecursionError as error:
        raise Wrong("too deep") from error
    canonical = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    need(canonical == source, "a record must be canonical JSON")
    need(isinstance(record, dict) and isinstance(record.get("kind"), str), "a record has a kind")
    kind = KINDS.get(record["kind"])
    need(kind is not None and kind(record), "a record has the fields of its kind, within their bounds")
    if record["kind"] in REASONS:
        check_outcome(record["kind"], record["decided"])
    return record


def payload_text(encoded):
    """Label and text of a payload's preimage."""
    size = int.from_bytes(encoded[:2], "big")
    label, rest = encoded[2 : 2 + size], encoded[2 + size + 32 :]
    need(re.fullmatch(rb"[a-z0-9/-]{1,32}", label) and len(label) == size, "a payload has a label")
    need(int.from_bytes(rest[:8], "big") == len(rest) - 8 <= 4194304, "a payload has its text")
    return label.decode(), rest[8:]


def commitments(record):
    """What a record commits to, each with the part of the ledger's policy that lets it be absent."""
    if record["kind"] == "constitution":
        return {record["text"]: None}
    if record["kind"] == "intent":
        return {record["prompt"]: "keepPrompt", record["taskText"]: None, record["runtime"]["spec"]: None}
    if record["kind"] in ("deleted", "erasure", "sealed", "succession"):
        return {}
    outcome = record["decided"]
    found = {outcome["runtime"]["spec"]: None, outcome["prompt"]: "keepPrompt"}
    found |= {branch["text"]: "keepBranches" for branch in outcome["branches"] if "text" in branch}
    if "answer" in outcome:
        found |= {outcome["answer"]["text"]: None, outcome["answer"]["hashKey"]: None}
    if "detail" in record["observed"]:
        found[record["observed"]["detail"]] = None
    return found


def slot(record):
    if record["kind"] == "constitution":
        return ("constitution", record["constitution"]["name"], record["constitution"]["version"])
    if record["kind"] == "erasure":
        return None
    if record["kind"] in ("sealed", "succession"):
        return ("ledger", record["kind"])
    task = record["task"]
    if record["kind"] == "deleted":
        return ("deleted", task["uid"])
    if record["kind"] in ("intent", "attempt"):
        return (record["kind"], task["uid"], task["attempt"])
    return ("terminal", task["uid"])


class History:
    """What must hold between records: slots, constitutions, payloads."""

    def __init__(self):
        self.slots, self.constitutions, self.ends, self.size = set(), {}, {}, 0
        self.begun, self.is_sealed = set(), False
        self.due, self.excused, self.stored, self.erased = set(), set(), {}, set()

    def push(self, record, stored):
        place = slot(record)
        need(place is None or place not in self.slots, "one record in a slot")
        self.slots.add(place)
        need(not self.is_sealed or record["kind"] == "erasure", "a sealed ledger takes erasures only")
        committed = commitments(record)
        stored = {base64.b64encode(name).decode(): value for name, value in stored.items()}
        need(stored.keys() <= committed.keys(), "a record commits to its payloads")
        policy = {}
        if record["kind"] == "constitution":
            self.found(record["constitution"], stored.get(record["text"]))
        elif record["kind"] == "deleted":
            need(self.ends.get(record["endedIndex"]) == record["task"], "a deletion names the end of its task")
        elif record["kind"] == "erasure":
            self.erased.update(record["commitments"])
        elif record["kind"] == "sealed":
            need(self.begun <= {task["uid"] for task in self.ends.values()}, "every task has ended before the seal")
            self.is_sealed = True
        elif record["kind"] == "succession":
            need(self.size == 0, "a succession is the first record")
        else:
            policy = self.policy(record.get("constitution") or record["decided"]["constitution"])
        for name, part in committed.items():
            if part is None or policy.get(part, True):
                self.due.add(name)
            if part == "keepPrompt" and record.get("decided", {}).get("reason") in ("promptEmpty", "promptTooLong"):
                self.excused.add(name)
        for name, value in stored.items():
            self.stored.setdefault(name, value)
        if record["kind"] == "intent":
            self.begun.add(record["task"]["uid"])
        if place is not None and place[0] == "terminal":
            self.ends[self.size] = record["task"]
        self.size += 1

    def found(self, reference, payload):
        keeps = {"keepPrompt": False, "keepBranches": False}
        if payload is not None:
            policy = json.loads(payload[1])
            meta = policy["meta"]
            is_named = all(meta.get(name) == reference[name] for name in ("name", "version", "catalogue"))
            digest = "sha256:" + hashlib.sha256(payload[1]).hexdigest()
            need(is_named and digest == reference["digest"], "a constitution's text is that of the one that is named")
            keeps = policy.get("ledger", {})
        self.constitutions[reference["name"], reference["version"]] = (reference["digest"], keeps)

    def policy(self, used):
        known = self.constitutions.get((used["name"], used["version"]))
        need(known is not None and known[0] == used["digest"], "a constitution is recorded before it is used")
        return known[1]

    def end(self):
        """Every payload is kept, erased by a record, or need not be there."""
        committed = self.due | self.stored.keys()
        for name in committed:
            is_there = self.stored.get(name) is not None
            is_missed = name in self.stored or (name in self.due and name not in self.excused)
            need(not (is_there and name in self.erased), "what was erased is gone")
            need(is_there or name in self.erased or not is_missed, "a payload is lost")

//! What a hostile runtime tries, as statements of Python: one that ends without an exception got through.
//! System calls by number are those of x86-64.

/// An attempt.
pub(crate) struct Attempt {
    /// In the table, and in `docs/THREAT-MODEL.md`.
    pub(crate) name: &'static str,
    /// Placeholders: `OTHER`, a pod; `LISTENER`, a pod that listens on the broker's port; `LEDGER`, the
    /// ledger's pod; `UNLISTED` and `LISTED`, services; `REBOUND`, a listed name with a private address.
    pub(crate) code: &'static str,
    /// The same statement gets through in a bare pod of the same image: so it is a wall that stopped it.
    pub(crate) in_bare_pod: bool,
}

const fn walled(name: &'static str, code: &'static str) -> Attempt {
    Attempt {
        name,
        code,
        in_bare_pod: true,
    }
}

/// What may fail in a bare pod too: its container runtime or kernel forbids it, or what is asked is not there.
const fn other(name: &'static str, code: &'static str) -> Attempt {
    Attempt {
        name,
        code,
        in_bare_pod: false,
    }
}

/// Every attempt must fail.
pub(crate) const ATTEMPTS: &[Attempt] = &[
    walled("API server", "tcp('APISERVER', 443)"),
    other("metadata address", "tcp('169.254.169.254', 80)"),
    walled("another pod", "tcp('OTHER', 8080)"),
    walled(
        "a remote listener on the broker's port",
        "tcp('LISTENER', 39128)",
    ),
    walled("DNS over UDP", "udp('NAMESERVER', 53)"),
    walled("DNS over TCP", "tcp('NAMESERVER', 53)"),
    walled(
        "a name looked up",
        "socket.getaddrinfo('kubernetes.default.svc.cluster.local', 443)",
    ),
    other("the ledger's port without a token", "tcp('LEDGER', 8443)"),
    other("the ledger's canary port", "tcp('LEDGER', 8444)"),
    other(
        "the supervisor's token",
        "open('/axiom-hive/token/token').read()",
    ),
    other(
        "the supervisor's prompt",
        "open('/axiom-hive/prompt/prompt').read()",
    ),
    other(
        "the supervisor's API key",
        "os.listdir('/axiom-hive/api-key')",
    ),
    other("our own directory", "os.listdir('/axiom-hive')"),
    other(
        "our own program",
        "open('/axiom-hive/bin/hive_supervisor', 'rb').read(4)",
    ),
    other(
        "the directory of the supervisor's socket",
        "os.listdir('/axiom-hive/socket')",
    ),
    other(
        "the supervisor's socket",
        "socket.socket(socket.AF_UNIX).connect('/axiom-hive/socket/runtime')",
    ),
    walled("a variable of the image", "os.environ['PYTHONUNBUFFERED']"),
    walled(
        "a service account's token",
        "open('/var/run/secrets/kubernetes.io/serviceaccount/token').read()",
    ),
    walled("the list of processes", "os.listdir('/proc')"),
    walled(
        "the command line of process 1",
        "open('/proc/1/cmdline').read()",
    ),
    walled(
        "the environment of process 1",
        "open('/proc/1/environ').read()",
    ),
    walled("the files of process 1", "os.listdir('/proc/1/root/')"),
    walled("the mounts", "open('/proc/self/mountinfo').read()"),
    walled("its own memory as a file", "open('/proc/self/mem', 'rb')"),
    other(
        "a raw socket",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    ),
    other(
        "a packet socket",
        "socket.socket(17, socket.SOCK_RAW, 0x300)",
    ),
    walled("a netlink socket", "socket.socket(16, socket.SOCK_RAW, 0)"),
    other("a vsock socket", "socket.socket(40, socket.SOCK_STREAM)"),
    walled(
        "a UDP socket",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    ),
    other("multipath TCP", "tcp_by(262, 'OTHER', 8080)"),
    walled(
        "TCP fast open",
        "socket.socket().sendto(b'x', 0x20000000, ('OTHER', 8080))",
    ),
    walled(
        "TCP fast open in a message",
        "socket.socket().sendmsg([b'x'], [], 0x20000000, ('OTHER', 8080))",
    ),
    other(
        "io_uring",
        "call(425, 8, ctypes.addressof(ctypes.create_string_buffer(256)))",
    ),
    walled(
        "an abstract Unix socket",
        "socket.socket(socket.AF_UNIX).bind('\\0axiom')",
    ),
    walled(
        "an abstract Unix datagram socket",
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind('\\0axiom-hive')",
    ),
    walled(
        "a listener of its own",
        "socket.socket().bind(('0.0.0.0', 0))",
    ),
    walled(
        "ptrace by its parent",
        "in_child(lambda: call(101, 0, 0, 0, 0))",
    ),
    other("ptrace of process 1", "call(101, 16, 1, 0, 0)"),
    other("memory of process 1", "call(310, 1, 0, 0, 0, 0, 0)"),
    walled("a signal to process 1", "os.kill(1, 0)"),
    other("a new user namespace", "call(272, 0x10000000)"),
    other("a mount", "call(165, 0, 0, 0, 0, 0)"),
    other("bpf", "call(321, 0, 0, 0)"),
    other("a key ring", "call(250, 0, -3, 0, 0, 0)"),
    other(
        "a call by another numbering (x32)",
        "in_child(lambda: call(0x40000000 | 41, 2, 1, 0))",
    ),
    walled("a session of its own", "in_child(os.setsid)"),
    other("a file outside of its scratch", "open('/usr/axiom', 'w')"),
    walled("a file in shared memory", "open('/dev/shm/axiom', 'w')"),
    other(
        "the broker: an unlisted name",
        "proxy('CONNECT UNLISTED:8080 HTTP/1.1\\r\\nHost: UNLISTED:8080\\r\\n\\r\\n')",
    ),
    other(
        "the broker: the API server by name",
        "proxy('CONNECT kubernetes.default.svc:443 HTTP/1.1\\r\\nHost: kubernetes.default.svc:443\\r\\n\\r\\n')",
    ),
    other(
        "the broker: another port of a listed name",
        "proxy('CONNECT LISTED:8443 HTTP/1.1\\r\\nHost: LISTED:8443\\r\\n\\r\\n')",
    ),
    other(
        "the broker: a private address",
        "proxy('CONNECT OTHER:8080 HTTP/1.1\\r\\nHost: OTHER:8080\\r\\n\\r\\n')",
    ),
    other(
        "the broker: an address in other digits",
        "proxy('CONNECT 0x0a600001:443 HTTP/1.1\\r\\nHost: 0x0a600001:443\\r\\n\\r\\n')",
    ),
    other(
        "the broker: the metadata address",
        "proxy('GET http://169.254.169.254/ HTTP/1.1\\r\\nHost: 169.254.169.254\\r\\n\\r\\n')",
    ),
    other(
        "the broker: the supervisor's loopback",
        "proxy('CONNECT 127.0.0.1:39128 HTTP/1.1\\r\\nHost: 127.0.0.1:39128\\r\\n\\r\\n')",
    ),
    other(
        "the broker: a rebinding name",
        "proxy('GET http://REBOUND:8080/ HTTP/1.1\\r\\nHost: REBOUND:8080\\r\\n\\r\\n')",
    ),
    other(
        "the broker: another host behind a listed one",
        "proxy('GET http://LISTED:8080/ HTTP/1.1\\r\\nHost: UNLISTED:8080\\r\\n\\r\\n')",
    ),
    other(
        "the broker: two hosts",
        "proxy('GET http://LISTED:8080/ HTTP/1.1\\r\\nHost: LISTED:8080\\r\\nHost: UNLISTED:8080\\r\\n\\r\\n')",
    ),
    other(
        "the broker: a tunnel without TLS",
        "tunnel('CONNECT LISTED:8080 HTTP/1.1\\r\\nHost: LISTED:8080\\r\\n\\r\\n', b'GET / HTTP/1.0\\r\\n\\r\\n')",
    ),
    other(
        "the broker: a request within a request",
        "proxy('GET http://LISTED:8080/ HTTP/1.1\\r\\nHost: LISTED:8080\\r\\nContent-Length: 4\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nGET http://UNLISTED:8080/ HTTP/1.1\\r\\nHost: UNLISTED:8080\\r\\n\\r\\n', b'web-unlisted')",
    ),
];

/// What comes before the attempts.
pub(crate) const PRELUDE: &str = r"
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(it) for it in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), 'refused')
def tcp(host, port):
    socket.create_connection((host, port), 1).close()
def tcp_by(protocol, host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as it:
        it.settimeout(1)
        it.connect((host, port))
def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as it:
        it.settimeout(1)
        it.sendto(bytes.fromhex('000101000001000000000000') + b'\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01', (host, port))
        it.recv(512)
def in_child(what):
    pid = os.fork()
    if pid == 0:
        try:
            what()
        except BaseException:
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        raise OSError('the child was stopped')
def said(request, more=b''):
    with socket.create_connection(('127.0.0.1', 39128), 5) as it:
        it.sendall(request.encode() + more)
        it.settimeout(5)
        text = b''
        while True:
            part = it.recv(4096)
            if not part or len(text) > 65536:
                return text
            text += part
def proxy(request, must_say=b''):
    text = said(request)
    if b' 200 ' not in text[:16] or must_say not in text:
        raise OSError('refused')
def tunnel(request, more):
    if b'web-listed' not in said(request, more):
        raise OSError('nothing came back')
";

/// Before the attempts of the bare pod: the enforcer refuses a new pod's first packets, and what fails for
/// that would show no wall.
pub(crate) const UNTIL_CONNECTED: &str = r"
import time
for _ in range(60):
    try:
        tcp('APISERVER', 443)
        break
    except OSError:
        time.sleep(0.25)
";

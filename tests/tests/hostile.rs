//! A desktop whose root has replaced the agent, and what the host and other desktops feel of it.

use std::{
    fs,
    time::{Duration, Instant},
};

use tests::{Database, World, machine, until, wire_client::WireClient, world::PORT};
use wire::head::{Event, Login};

/// Takes the agent's listening socket over, ends the agent, and answers in its place: as agreed, until
/// the file `/tmp/lie` says what to do instead. Where the host puts in another agent, it does so again.
const REPLACED: &str = r#"
import array, ctypes, json, os, signal, socket, struct, tempfile, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def lie():
    try:
        return open('/tmp/lie').read().strip()
    except OSError:
        return ''
def say(stream, **message):
    stream.sendall(json.dumps(message).encode() + b'\n')
def give(stream, descriptors):
    rights = array.array('i', [one if isinstance(one, int) else one.fileno() for one in descriptors])
    line = b'{"tell":"opened"}\n'
    try: stream.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    # What nobody took is not closed here: that would last.
    except OSError:
        kept.extend(descriptors)
        raise
def lingering():
    server = socket.create_server(('127.0.0.1', 0))
    trap = socket.create_connection(server.getsockname())
    trap.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 3600))
    kept.append((server, server.accept()))
    trap.setblocking(False)
    try:
        while True: trap.send(b'x' * 65536)
    except BlockingIOError:
        return trap
kept = []
def start(stream, how):
    if how == 'garbage': stream.sendall(os.urandom(30) + b'\n')
    elif how == 'endless':
        while True: stream.sendall(b'x' * 65536)
    elif how == 'flood':
        while True: say(stream, tell='progress', text='\x1b[2J' + 'busy ' * 500)
    elif how == 'other': say(stream, tell='hello', version=1, prepared=True)
    elif how == 'unasked': give(stream, [lingering()])
    elif how == 'refuses': say(stream, tell='failed', code='no such code', text='I will not\nnow')
    elif how == 'mute':
        open('/tmp/asked', 'a').write('x')
        stream.recv(1)
        open('/tmp/left', 'a').write('x')
    else:
        say(stream, tell='progress', text='starting')
        say(stream, tell='listening')
def opened(stream, how):
    if how == 'nothing': say(stream, tell='opened')
    elif how == 'file': give(stream, [os.open('/etc/passwd', os.O_RDONLY)])
    elif how == 'folder': give(stream, [os.open('/', os.O_PATH)])
    elif how == 'datagram': give(stream, [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]])
    elif how == 'network': give(stream, [socket.create_server(('127.0.0.1', 0))])
    elif how == 'several': give(stream, [socket.socketpair()[0] for _ in range(50)])
    elif how == 'lingering': give(stream, [lingering()])
    elif how == 'trapped':
        ours, theirs = socket.socketpair()
        ours.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [lingering().fileno()]))])
        kept.append(ours)
        give(stream, [theirs])
def followed(stream):
    was = lie()
    stream.settimeout(0.2)
    while lie() == was or not was.startswith('followed'):
        how = was = lie()
        if how.startswith('followed'): open('/tmp/' + how, 'a').write('x')
        if how == 'followed floods': stream.sendall(b'{"tell":"state","session":"none"}\n' * 1000)
        elif how == 'followed lies':
            for session in ('starting', 'listening', 'connected', 'suspended', 'none'):
                say(stream, tell='state', session=session)
            say(stream, tell='hello', version=9, prepared=False)
            say(stream, tell='done')
        elif how == 'followed refuses': say(stream, tell='failed', code='x', text='y' * 3000)
        elif how == 'followed garbage': stream.sendall(os.urandom(64) + b'\n')
        elif how == 'followed endless': stream.sendall(b'x' * 65536)
        elif how == 'followed gives' and len(kept) < 100: give(stream, [lingering()])
        elif how == 'followed hangs up': stream.shutdown(socket.SHUT_RDWR)
        else: time.sleep(0.05)
def follow(stream):
    say(stream, tell='state', session='none')
    while True:
        try: followed(stream)
        except TimeoutError: continue
        except OSError: pass
        break
    try: stream.shutdown(socket.SHUT_RDWR)
    except OSError: pass
def converse(stream):
    for line in stream.makefile('rb'):
        ask = json.loads(line)['ask']
        how = lie()
        if how == 'all garbage': stream.sendall(b'\0\xff\n' * 1000)
        elif ask == 'hello': say(stream, tell='hello', version=1, prepared=True)
        elif ask == 'follow': follow(stream)
        elif ask == 'start': start(stream, how)
        elif ask == 'open': opened(stream, how)
        else: say(stream, tell='done')
def serve(listener):
    while True:
        try:
            stream, _ = listener.accept()
        except OSError:
            return
        def hold(stream=stream):
            try: converse(stream)
            except (OSError, ValueError): pass
        threading.Thread(target=hold, daemon=True).start()
def replace(pid):
    process = libc.syscall(434, pid, 0)
    for number in map(int, os.listdir(f'/proc/{pid}/fd')):
        taken = libc.syscall(438, process, number, 0)
        if taken < 0: continue
        try:
            found = socket.socket(fileno=taken)
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                os.kill(pid, signal.SIGKILL)
                threading.Thread(target=serve, args=[found], daemon=True).start()
                open('/tmp/replaced', 'a').write('x')
                return
        except OSError: pass
while True:
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            words = open(f'/proc/{pid}/cmdline').read().split('\0')
        except OSError: continue
        if 'serve' in words[1:2] and 'vma' in words[0]: replace(int(pid))
    time.sleep(0.05)
"#;

/// What the replaced agent does when a session is asked for, and a part of what the user is told.
const STARTS: [(&str, &str); 6] = [
    ("garbage", "does not keep to what was agreed"),
    ("endless", "does not keep to what was agreed"),
    ("flood", "does not keep to what was agreed"),
    ("other", "does not keep to what was agreed"),
    ("unasked", "does not keep to what was agreed"),
    ("refuses", "I will not"),
];

/// What it hands over as the desktop.
const OPENS: [&str; 8] =
    ["nothing", "file", "folder", "datagram", "network", "several", "lingering", "trapped"];

/// What it does on the connection that is followed, after the desktop was ready. It reads nothing there.
const FOLLOWED: [&str; 7] = [
    "followed floods",
    "followed lies",
    "followed refuses",
    "followed garbage",
    "followed endless",
    "followed gives",
    "followed hangs up",
];

/// For how long it does so before anybody looks what it took.
const FOLLOWED_FOR: Duration = Duration::from_secs(1);

/// How long processors have worked for hkd.
fn worked(world: &World) -> Duration {
    let stat = machine::stat_of(world.daemon_pid("hkd"));
    let ticks = stat.skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // Linux counts hundredths of a second.
    Duration::from_millis(ticks * 10)
}

/// The resident memory of hkd, in KiB.
fn memory(world: &World) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.daemon_pid("hkd")));
    let status = status.expect("hkd runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|resident| resident.split_whitespace().next());
    kibibytes.and_then(|count| count.parse().ok()).expect("it has memory")
}

/// Asks for a desktop; what came, and the client.
fn connect(world: &World, user: &str, vm: &str) -> (Vec<Event>, WireClient) {
    let mut client = WireClient::connect(PORT);
    let id = world.id(vm).to_string();
    (client.ask("/qvd/connect_to_vm", &[("id", &id)], &login(world, user), true), client)
}

fn login(world: &World, user: &str) -> Login {
    Login { login: user.to_owned(), password: world.password().to_owned() }
}

/// Waits until the replaced agent has noted something so often.
fn written(world: &World, what: &str, times: usize) {
    until(&format!("the agent to note `{what}` {times} times"), Duration::from_secs(20), || {
        let noted = fs::read(world.overlay("desk").join(format!("tmp/{what}"))).unwrap_or_default();
        if noted.len() >= times { Ok(()) } else { Err(noted.len()) }
    });
}

fn lie(world: &World, how: &str) {
    fs::write(world.overlay("desk").join("tmp/lie"), how).expect("the overlay can be written");
}

/// The other desktop opens, within the time that a working one needs, and the host says that it is well.
fn others_are_well(world: &World, after: &str) {
    let begun = Instant::now();
    let (events, _client) = connect(world, "bob", "den");
    assert!(matches!(events.last(), Some(Event::Switched { .. })), "after {after}: {events:?}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "after {after} another desktop took {took:?}");
    let hosts = world.qa_json("host list").to_string();
    assert!(hosts.contains("running"), "after {after}: {hosts}");
}

/// A replaced agent that floods, lies, sends garbage, endless lines or descriptors of all kinds, or says
/// nothing: the host stays well and grows by nothing to speak of, other desktops feel nothing, the user
/// is told why, and the reason is shown.
#[test]
fn a_replaced_agent_harms_its_own_desktop_alone() {
    let mut world = World::start(Database::Sqlite);
    for (user, vm) in [("ada", "desk"), ("bob", "den")] {
        world.add_user(user);
        world.add_vm(vm, user);
        world.qa(&format!("vm start -f name={vm} --wait"));
    }
    others_are_well(&world, "nothing");
    fs::write(world.overlay("desk").join("tmp/replaced.py"), REPLACED).expect("a script");
    world.inside("desk", "setsid python3 /tmp/replaced.py >/tmp/replaced.log 2>&1 </dev/null &");
    until("the agent to be replaced", Duration::from_secs(20), || {
        world.try_inside("desk", "cat /tmp/replaced || { cat /tmp/replaced.log >&2; exit 1; }")
    });
    // The host speaks with it as with its own.
    world.reaches("desk", "running");
    let before = memory(&world);
    for (how, told) in STARTS {
        lie(&world, how);
        let (events, mut client) = connect(&world, "ada", "desk");
        let Some(Event::Answer(answer)) = events.last() else { panic!("{how}: {events:?}") };
        assert_eq!(answer.status, 503, "{how}");
        assert!(answer.text().contains(told), "{how}: {}", answer.text());
        client.closed();
        others_are_well(&world, how);
    }
    for how in OPENS {
        lie(&world, how);
        let (events, mut client) = connect(&world, "ada", "desk");
        assert!(matches!(events.last(), Some(Event::Switched { .. })), "{how}: {events:?}");
        client.begin();
        client.closed();
        others_are_well(&world, how);
    }
    // Silent ones are left, again and again: nothing waits for them.
    lie(&world, "mute");
    for round in 1..=3 {
        let mut client = WireClient::connect(PORT);
        let id = world.id("desk").to_string();
        client.only_ask("/qvd/connect_to_vm", &[("id", &id)], &login(&world, "ada"), true);
        written(&world, "asked", round);
        others_are_well(&world, "mute");
        drop(client);
        written(&world, "left", round);
    }
    for how in FOLLOWED {
        let (begun, before, said) = (Instant::now(), worked(&world), world.log().len());
        lie(&world, how);
        written(&world, how, 1);
        while begun.elapsed() < FOLLOWED_FOR {
            others_are_well(&world, how);
        }
        let (took, of) = (worked(&world).saturating_sub(before), begun.elapsed());
        assert!(took < of / 2, "{how}: hkd worked for {took:?} of {of:?}");
        let said = world.log().len() - said;
        assert!(said < 64 * 1024, "{how}: {said} bytes were logged");
    }
    let after = memory(&world);
    assert!(after < before + 32 * 1024, "hkd took {before} KiB before and {after} KiB after");

    // One that answers nothing as agreed is no agent: another is put in, and replaced, and in the end
    // the reason stands there.
    world.expect_log("WARN", "agent");
    lie(&world, "all garbage");
    world.stop_daemons();
    world.run_daemons();
    until("the reason", Duration::from_mins(1), || match world.qa("vm why -f name=desk") {
        why if why.contains("the agent in the VM does not answer") => Ok(()),
        why => Err(why),
    });
    others_are_well(&world, "garbage to everything");
    world.end();
}

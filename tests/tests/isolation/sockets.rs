//! Sockets of the host and of other desktops, connected to by whatever name.

use tests::{World, attempt::Who, program::shell};

/// Tries each path, as it is and from each root and working folder that is seen, and each name that is
/// no path; prints what came of it if it is not what comes of something that is not there.
const DIAL: &str = r"
import glob
def dial(address, none, kind=socket.SOCK_STREAM):
    try:
        found = socket.socket(socket.AF_UNIX, kind)
        found.settimeout(5)
        found.connect(address)
        print('connected', ascii(address))
    except OSError as error:
        if told(error) == 'EPROTOTYPE': dial(address, none, socket.SOCK_DGRAM)
        elif told(error) not in none: print(told(error), ascii(address))
places = [''] + glob.glob('/proc/[0-9]*/root') + glob.glob('/proc/[0-9]*/cwd')
assert len(places) > 2
for path in paths:
    for place in places: dial(place + path, ('ENOENT', 'EACCES'))
for name in names: dial('\0' + name, ('ECONNREFUSED',))
for table in glob.glob('/proc/[0-9]*/net/unix'):
    try: said = open(table).read()
    except OSError: continue
    for name in paths + names:
        if name in said: print('seen', table, name)
";

/// Nobody in a VM connects to a socket of this installation: neither the agents' nor the api's, the
/// router's way to hkd, or those of LXC's monitors.
pub(crate) fn of_the_host_are_not_connected(world: &World, vm: &str) {
    let folder = world.folder().display();
    let list = |line: String| shell(&line).lines().map(str::to_owned).collect::<Vec<_>>();
    let paths = list(format!("find {folder}/run -type s"));
    let names = list(format!("sed -n 's|.* @\\({folder}/.*\\)|\\1|p' /proc/net/unix | sort -u"));
    for wanted in [format!("{}/agent.sock", world.container("den")), "admin.sock".into()] {
        assert!(paths.iter().any(|path| path.ends_with(&wanted)), "{wanted} in {paths:?}");
    }
    assert!(
        names.iter().any(|name| name.ends_with(&format!("{}/command", world.container("den"))))
    );
    // What JSON writes, Python reads.
    let json = |list: &[String]| serde_json::to_string(list).expect("text is JSON");
    let lines = format!("paths, names = {}, {}\n{DIAL}", json(&paths), json(&names));
    // With all rights of the host each is reached.
    let reached = world.attempt_with_all_rights(vm, &lines);
    for address in paths.iter().chain(&names) {
        let is_it = |line: &str| line.starts_with("connected") && line.contains(address.as_str());
        assert!(reached.lines().any(is_it), "{address} in {reached}");
    }
    for who in Who::AND_NESTED {
        assert_eq!(world.attempt(vm, who, &lines), "done", "{who:?}");
    }
}

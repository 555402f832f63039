//! What somebody in a desktop tries, one system call at a time, in Python.

use std::{fs, path::PathBuf};

use crate::{World, program::try_shell};

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The desktop's root.
    Root,
    /// Its user, called `ada`.
    Ada,
    /// She again, as root in name spaces of her own.
    Nested,
}

impl Who {
    /// Both, as they are.
    pub const ALL: [Self; 2] = [Self::Root, Self::Ada];
    /// All, where name spaces may be made.
    pub const AND_NESTED: [Self; 3] = [Self::Root, Self::Ada, Self::Nested];
}

/// What every attempt may use: `call(number, …)` is a system call, `call32(number, …)` one of a program
/// of 32 bits, `mknod`, `mount` and `ioctl` are these calls, `send(…)` sends a frame through `eth0`.
const PRELUDE: &str = r#"
import ctypes, errno, fcntl, os, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
def call(number, *args):
    args = [arg.encode() if isinstance(arg, str) else arg for arg in args]
    result = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
def mount(what, where, kind, flags, data=None):
    return call(165, what, where, kind, flags, data)
def unshare(flags):
    return call(272, flags)
def mknod(path, mode, major, minor):
    os.mknod(path, mode, os.makedev(major, minor))
    os.close(os.open(path, os.O_RDONLY))
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
def call32(number, *args):
    # PROT_EXEC, MAP_32BIT: the registers of such a program have no room for higher addresses.
    page = libc.mmap(None, 16384, 7, 0x62, -1, 0)
    # push rbx; mov eax, edi; mov ebx, esi; mov esi, ecx; mov ecx, edx; mov edx, esi; mov esi, r8d;
    # mov edi, r9d; int 0x80; pop rbx; ret
    ctypes.memmove(page, bytes.fromhex("5389f889f389ce89d189f24489c64489cfcd805bc3"), 21)
    free, numbers = page + 64, []
    for arg in args:
        if isinstance(arg, bytes):
            ctypes.memmove(free, arg, len(arg))
            free, arg = free + len(arg), free
        numbers.append(arg & 0xffffffff)
    numbers += [0] * (5 - len(numbers))
    result = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 6)(page)(number, *numbers)
    if -4096 < result < 0:
        raise OSError(-result, "")
    return result
def ioctl(path, request, data=4096):
    folder = os.open(path, os.O_RDONLY)
    answer = bytearray(data)
    fcntl.ioctl(folder, request, answer)
    return bytes(answer)
def connect(host, port):
    socket.create_connection((host, port), timeout=0.5).close()
def send(frame):
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind(("eth0", 0))
    raw.send(frame)
def told(error):
    return "ETIMEDOUT" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno, error)
def attempt(lines):
    try:
        exec(lines, globals())
        print("done")
    except OSError as error:
        print(told(error))
try:
"#;

const END: &str = r#"
    print("done")
except OSError as error:
    print(told(error))
"#;

/// Lines, each this far from the margin.
pub fn indented(lines: &str, by: usize) -> String {
    lines.lines().fold(String::new(), |text, line| format!("{text}{:by$}{line}\n", ""))
}

impl World {
    /// Where a VM writes, as the host sees it.
    pub fn overlay(&self, vm: &str) -> PathBuf {
        self.storage().join(format!("overlayfs/1-{}-overlayfs", self.id(vm)))
    }

    /// Puts lines of Python into a VM, as the script `/var/NAME.py`, which says `done` or the name of
    /// the error, after what it printed.
    pub fn script(&self, vm: &str, name: &str, lines: &str) {
        let body = indented(lines.trim(), 4);
        let file = self.overlay(vm).join(format!("var/{name}.py"));
        fs::write(&file, format!("{PRELUDE}{body}{END}")).expect("a script for the attempt");
    }

    /// What comes of lines of Python in a VM: `done`, or the name of the error, after what it printed.
    #[track_caller]
    pub fn attempt(&self, vm: &str, who: Who, lines: &str) -> String {
        self.script(vm, "attempt", lines);
        let line = "python3 /var/attempt.py";
        let said = match who {
            Who::Root => self.try_inside(vm, line),
            Who::Ada => self.try_in_session(vm, "ada", line),
            Who::Nested => {
                let nested = "unshare --user --map-root-user --mount --net --pid --fork";
                self.try_in_session(vm, "ada", &format!("{nested} {line}"))
            }
        };
        said.unwrap_or_else(|why| panic!("{who:?} in {vm}: {lines}: {why}"))
    }

    /// What comes of the same lines with all rights of the host: in the VM's files, but not in its
    /// container. What is done there is refused inside for no other reason than who asks.
    #[track_caller]
    pub fn attempt_with_all_rights(&self, vm: &str, lines: &str) -> String {
        self.script(vm, "attempt", lines);
        let root = self.overlay(vm);
        let root = root.display();
        let said = try_shell(&format!(
            "unshare --mount sh -c 'mount --bind {root} {root} && \
             mount -o remount,bind,dev {root} && mount -t proc proc {root}/proc && \
             exec chroot {root} python3 /var/attempt.py'"
        ));
        said.unwrap_or_else(|why| panic!("with all rights: {lines}: {why}"))
    }

    /// Each of these attempts fails, with one of the errors that stand beside it.
    #[track_caller]
    pub fn refused(&self, vm: &str, who: Who, attempts: &[(&str, &str)]) {
        let all: Vec<&str> = attempts.iter().map(|(lines, _)| *lines).collect();
        // What JSON writes, Python reads.
        let all = serde_json::to_string(&all).expect("text is JSON");
        let found = self.attempt(vm, who, &format!("for lines in {all}: attempt(lines)"));
        let found: Vec<&str> = found.lines().collect();
        assert_eq!(found.len(), attempts.len() + 1, "{who:?} in {vm}: {found:?}");
        let wrong: Vec<String> = attempts
            .iter()
            .zip(found)
            .filter(|((_, errors), found)| !errors.split(' ').any(|error| error == *found))
            .map(|((lines, errors), found)| format!("{lines}: {found}, not {errors}"))
            .collect();
        assert!(wrong.is_empty(), "{who:?} in {vm}: {wrong:#?}");
    }

    /// Whether the volume can be written on the host.
    pub fn volume_is_writable(&self) -> bool {
        let probe = self.storage().join("basefs/probe");
        let made = fs::create_dir(&probe).is_ok();
        made && fs::remove_dir(&probe).is_ok()
            && try_shell(&format!("findmnt -no OPTIONS {} | grep -q ^rw", self.storage().display()))
                .is_ok()
    }
}

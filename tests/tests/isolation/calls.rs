//! System calls as programs of 32 bits make them: through another door of the kernel, by other numbers.

use tests::{World, attempt::Who};

/// What is refused, by its numbers there.
const REFUSED: [(&str, &str); 24] = [
    // Modules; another kernel; accounting; swap; quotas; the kernel's log; ports.
    ("call32(128, bytes(8), 8, bytes(1))", "EPERM"),
    ("call32(350, 0, bytes(1), 0)", "EPERM"),
    ("call32(129, b'x\\0', 0)", "EPERM"),
    ("call32(283, 0, 0, 0, 0)", "EPERM"),
    ("call32(51, 0)", "EPERM"),
    ("call32(87, b'/x\\0', 0)", "EPERM"),
    ("call32(131, 0, 0, 0, 0)", "EPERM"),
    ("call32(103, 3, bytes(100), 100)", "EPERM"),
    ("call32(110, 3)", "EPERM"),
    ("call32(101, 0, 1, 1)", "EPERM"),
    // Clocks.
    ("call32(25, bytes(4))", "EPERM"),
    ("call32(79, bytes(8), 0)", "EPERM"),
    ("call32(264, 0, bytes(8))", "EPERM"),
    ("call32(404, 0, bytes(16))", "EPERM"),
    // bpf, perf_event_open, userfaultfd, open_by_handle_at.
    ("call32(357, 5, bytes(120), 120)", "EPERM"),
    ("call32(336, bytes(120), 0, -1, -1, 0)", "EPERM"),
    ("call32(374, 0)", "EPERM"),
    ("call32(342, 3, bytes(64), 0)", "EPERM"),
    // Keyrings, io_uring.
    ("call32(286, 0, 0, 0, 0, 0)", "ENOSYS"),
    ("call32(287, 0, 0, 0, 0)", "ENOSYS"),
    ("call32(288, 0, -3, 0)", "ENOSYS"),
    ("call32(425, 8, bytes(120))", "ENOSYS"),
    // Subvolumes.
    ("call32(54, os.open('/', os.O_RDONLY), 0x5000940e, bytes(4096))", "EPERM"),
    // The third door, of programs with short pointers.
    ("call(0x40000000 | 41, 40, 1, 0)", "ENOSYS EAFNOSUPPORT"),
];

/// The same for name spaces, where they are not wanted.
pub(crate) const NAME_SPACES_OF_32_BITS: [(&str, &str); 3] = [
    ("call32(310, 0x10000000)", "EPERM"),
    ("call32(120, 0x10000011, 0, 0, 0, 0)", "EPERM"),
    ("call32(435, bytes(88), 88)", "ENOSYS"),
];

/// They are refused as those of 64 bits are.
pub(crate) fn of_32_bits_are_refused(world: &World, vm: &str, who: Who) {
    // The door is there, and so are the calls.
    let works = "assert call32(20) == os.getpid()\ncall32(359, 1, 1, 0)";
    assert_eq!(world.attempt(vm, who, works), "done");
    let elsewhere = "call32(374, 0)\ncall32(288, 0, -3, 0)";
    assert_eq!(world.attempt_with_all_rights(vm, elsewhere), "done");
    world.refused(vm, who, &REFUSED);
}

//! The sample desktop: its session and its browser.

use std::time::Duration;

use tests::{Database, Display, World, until};

/// Under systemd no unit has failed in the sample desktop, and Firefox starts with its sandbox: its
/// content processes filter their system calls and have user namespaces of their own.
#[test]
fn firefox_starts_with_its_sandbox() {
    let world = World::start_with(Database::Sqlite, "desktop");
    world.add_user("ada");
    world.add_vm("desk", "ada");
    let display = Display::start(world.folder(), 56);
    let client = world.client(&display, "ada", "desk");
    let minutes = Duration::from_mins(3);
    until("the desktop's panel", minutes, || {
        world.try_in_desktop("desk", "ada", "xwininfo -root -tree | grep -q xfce4-panel")
    });
    until("a running system", minutes, || world.try_inside("desk", "systemctl is-system-running"));
    assert_eq!(world.inside("desk", "systemctl --failed --no-legend"), "");
    // Among the user's own programs, not in what a shell from outside is confined to.
    let open = "systemd-run --user --quiet --collect -E DISPLAY -E XAUTHORITY \
                firefox-esr --new-instance about:blank";
    world.try_in_desktop("desk", "ada", open).expect("Firefox is started");
    until("Firefox's window", minutes, || {
        world.try_in_desktop("desk", "ada", "xwininfo -root -tree | grep -q Navigator")
    });
    let content = until("Firefox's content processes", minutes, || {
        world.try_inside("desk", "pgrep -f -- -contentproc | head -1")
    });
    until("the sandbox", minutes, || {
        world.try_inside(
            "desk",
            &format!(
                "for pid in $(pgrep -f -- -contentproc); do \
                   grep -q 'Seccomp:.2' /proc/$pid/status || continue; \
                   [ $(readlink /proc/$pid/ns/user) != $(readlink /proc/1/ns/user) ] && exit 0; \
                 done; grep -H Seccomp /proc/{content}/status; exit 1"
            ),
        )
    });
    drop(client);
    world.end();
}

//! What an image must have for a desktop.

use std::path::{Path, PathBuf};

use crate::command::{executable, find};

/// The programs of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    /// `nxagent`.
    pub(crate) nxagent: PathBuf,
    /// What starts the desktop, and stays for as long as it does.
    pub(crate) desktop: PathBuf,
}

/// Something an image lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// The X server.
    #[error("the image has no nxagent (Debian package nxagent)")]
    Nxagent,
    /// What compiles the X server's keymap.
    #[error(
        "the image has no xkbcomp, without which nxagent has no keyboard (Debian package x11-xkb-utils)"
    )]
    Xkbcomp,
    /// A desktop.
    #[error(
        "the image has no desktop to start: neither /etc/qvd/session nor /etc/X11/Xsession (Debian \
         package x11-common) nor a session program such as startxfce4 (Debian package xfce4-session)"
    )]
    Desktop,
    /// `/etc/X11/Xsession` has nothing to start.
    #[error(
        "the image's /etc/X11/Xsession has nothing to start: no x-session-manager, \
         x-window-manager or x-terminal-emulator (Debian packages xfce4, openbox, xterm)"
    )]
    Client,
}

/// An image's own choice, where it makes one.
const OWN: &str = "/etc/qvd/session";
/// Debian's and its family's way to start a desktop.
const XSESSION: &str = "/etc/X11/Xsession";
/// What starts a desktop elsewhere, in this order; the first one that can be executed is taken.
const OTHER_SCRIPTS: [&str; 2] = ["/etc/X11/xinit/Xsession", "/etc/X11/xdm/Xsession"];
/// And where there is no such script.
const MANAGERS: [&str; 11] = [
    "x-session-manager",
    "startxfce4",
    "startplasma-x11",
    "mate-session",
    "cinnamon-session",
    "gnome-session",
    "startlxqt",
    "startlxde",
    "openbox-session",
    "icewm-session",
    "xterm",
];
/// What Debian's Xsession looks for.
const XSESSION_CLIENTS: [&str; 3] =
    ["x-session-manager", "x-window-manager", "x-terminal-emulator"];

/// The programs of this image.
pub(crate) fn look() -> Result<Programs, Missing> {
    choose(&find, &executable)
}

fn choose(
    find: &dyn Fn(&str) -> Option<PathBuf>,
    executable: &dyn Fn(&Path) -> bool,
) -> Result<Programs, Missing> {
    let nxagent = find("nxagent").ok_or(Missing::Nxagent)?;
    if find("xkbcomp").is_none() {
        return Err(Missing::Xkbcomp);
    }
    let script = |path: &str| Some(PathBuf::from(path)).filter(|path| executable(path));
    if let Some(desktop) = script(OWN) {
        return Ok(Programs { nxagent, desktop });
    }
    if let Some(desktop) = script(XSESSION) {
        let has_client = XSESSION_CLIENTS.iter().any(|name| find(name).is_some());
        return if has_client { Ok(Programs { nxagent, desktop }) } else { Err(Missing::Client) };
    }
    let desktop = OTHER_SCRIPTS
        .iter()
        .find_map(|path| script(path))
        .or_else(|| MANAGERS.iter().find_map(|name| find(name)))
        .ok_or(Missing::Desktop)?;
    Ok(Programs { nxagent, desktop })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(files: &[&str]) -> Result<Programs, Missing> {
        let has = |path: &str| files.contains(&path);
        choose(
            &|name| Some(format!("/usr/bin/{name}")).filter(|path| has(path)).map(PathBuf::from),
            &|path| has(path.to_str().unwrap()),
        )
    }

    #[test]
    fn what_is_missing_is_named() {
        let (nx, xkb) = ("/usr/bin/nxagent", "/usr/bin/xkbcomp");
        assert_eq!(image(&[]), Err(Missing::Nxagent));
        assert_eq!(image(&[nx]), Err(Missing::Xkbcomp));
        assert_eq!(image(&[nx, xkb]), Err(Missing::Desktop));
        assert_eq!(image(&[nx, xkb, XSESSION]), Err(Missing::Client));
        let desktop = |files: &[&str]| image(files).unwrap().desktop;
        assert_eq!(desktop(&[nx, xkb, XSESSION, "/usr/bin/x-window-manager"]), Path::new(XSESSION));
        assert_eq!(desktop(&[nx, xkb, OWN, XSESSION]), Path::new(OWN));
        let xfce = "/usr/bin/startxfce4";
        assert_eq!(desktop(&[nx, xkb, "/usr/bin/xterm", xfce]), Path::new(xfce));
    }
}

//! A client's X display.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use crate::{
    painting::{Picture, differing, painting},
    pixel::Pixel,
    program::{Running, command, said, shell, try_shell},
    wait::until,
};

const WIDTH: usize = 1024;
const HEIGHT: usize = 768;

/// A virtual display with a window manager.
#[derive(Debug)]
pub struct Display {
    number: u32,
    authority: PathBuf,
    folder: PathBuf,
    _server: Running,
    _manager: Running,
}

impl Display {
    /// Starts one under a number, which is the world's own: displays are in its mounts and network.
    pub fn start(folder: &Path, number: u32) -> Self {
        let name = format!(":{number}");
        let screen = format!("{WIDTH}x{HEIGHT}x24");
        // As everywhere, only who has the cookie may use the display.
        let authority = folder.join(format!("authority{number}"));
        let file = authority.display();
        shell(&format!("xauth -q -f {file} add {name} . $(mcookie) 2>/dev/null"));
        let server = command("Xvfb")
            .args([&name, "-screen", "0", &screen, "-nolisten", "tcp", "-noreset"])
            // Lock files lie in /tmp, which all worlds share.
            .args(["-nolock", "-auth"])
            .arg(&authority)
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb starts");
        let server = Running(server);
        until("the display", Duration::from_secs(20), || {
            try_shell(&format!("XAUTHORITY={file} xdpyinfo -display {name}"))
        });
        let manager = command("openbox")
            .env("DISPLAY", &name)
            .env("XAUTHORITY", &authority)
            .env("HOME", folder)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("openbox starts");
        let display = Self {
            number,
            authority,
            folder: folder.to_owned(),
            _server: server,
            _manager: Running(manager),
        };
        until("the window manager", Duration::from_secs(20), || {
            let check = display.run("xprop -root _NET_SUPPORTING_WM_CHECK")?;
            if check.contains("window id") { Ok(()) } else { Err(check) }
        });
        display
    }

    /// Its name, for `DISPLAY`.
    pub fn name(&self) -> String {
        format!(":{}", self.number)
    }

    /// Who may use it, for `XAUTHORITY`.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// Runs a shell line on it.
    pub fn run(&self, line: &str) -> Result<String, String> {
        said(
            line,
            command("sh")
                .args(["-c", line])
                .env("DISPLAY", self.name())
                .env("XAUTHORITY", &self.authority)
                .output(),
        )
    }

    /// What it shows.
    pub fn picture(&self) -> Result<Picture, String> {
        let file = self.folder.join("screen.rgb");
        self.run(&format!("import -window root -depth 8 rgb:{}", file.display()))?;
        let rgb = std::fs::read(&file).map_err(|error| error.to_string())?;
        Ok(Picture { width: WIDTH, height: HEIGHT, rgb })
    }

    /// Waits until it shows the painting of a number, pixel by pixel.
    #[track_caller]
    pub fn shows(&self, seed: u64) {
        self.shows_within(Duration::from_secs(30), seed);
    }

    /// The same, but it must not take longer than this.
    #[track_caller]
    pub fn shows_within(&self, time: Duration, seed: u64) {
        until("the painting on the client's display", time, || self.shows_now(seed));
    }

    /// Whether it shows the painting now.
    pub fn shows_now(&self, seed: u64) -> Result<(), String> {
        match differing(&self.picture()?, &painting(seed, WIDTH, HEIGHT)) {
            0 => Ok(()),
            many => Err(format!("{many} of {} pixels differ", WIDTH * HEIGHT)),
        }
    }

    /// The pixel in its middle.
    pub fn middle(&self) -> Pixel {
        let listed =
            format!("xauth -q -f {} list | awk '{{ print $3 }}'", self.authority.display());
        let at = |length: usize| i16::try_from(length / 2).expect("a screen is small");
        Pixel::of(self.number, &shell(&listed), (at(WIDTH), at(HEIGHT)))
    }

    /// Whether any desktop is on it.
    pub fn has_desktop(&self) -> bool {
        self.run("xwininfo -root -tree").is_ok_and(|tree| tree.contains("NXAgent"))
    }

    /// Types a line on its keyboard.
    pub fn types(&self, line: &str) {
        self.run(&format!("xdotool type --delay 30 '{line}' && xdotool key Return"))
            .expect("keys are typed");
    }
}

//! A pixel of a display, looked at in less than a millisecond.

use std::os::unix::net::UnixStream;

use x11rb::{
    connection::Connection,
    protocol::xproto::{ConnectionExt, ImageFormat, Window},
    rust_connection::{DefaultStream, RustConnection},
};

/// A point of a display's screen.
#[derive(Debug)]
pub struct Pixel {
    display: RustConnection,
    root: Window,
    at: (i16, i16),
}

impl Pixel {
    /// The one so far from the left and the top of the display of this number, whose cookie is given in
    /// hexadecimal digits.
    pub fn of(number: u32, cookie: &str, at: (i16, i16)) -> Self {
        let cookie = hex::decode(cookie).expect("a cookie is hexadecimal");
        let socket = UnixStream::connect(format!("/tmp/.X11-unix/X{number}"));
        let (stream, _) = DefaultStream::from_unix_stream(socket.expect("the display listens"))
            .expect("a display's socket can be waited for");
        let protocol = b"MIT-MAGIC-COOKIE-1".to_vec();
        let display = RustConnection::connect_to_stream_with_auth_info(stream, 0, protocol, cookie)
            .expect("the display takes its cookie");
        let root = display.setup().roots.first().expect("the display has a screen").root;
        Self { display, root, at }
    }

    /// Its colour, as `0xRRGGBB`.
    pub fn colour(&self) -> u32 {
        let (x, y) = self.at;
        let image = self
            .display
            .get_image(ImageFormat::Z_PIXMAP, self.root, x, y, 1, 1, u32::MAX)
            .ok()
            .and_then(|asked| asked.reply().ok())
            .expect("the display answers");
        let [blue, green, red] = image.data.first_chunk().copied().unwrap_or_default();
        u32::from_be_bytes([0, red, green, blue])
    }
}

//! For which processor a program is.

use std::fmt;

/// `e_machine` of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine(u16);

impl Machine {
    /// No machine is known.
    pub(crate) const NONE: Self = Self(0);

    const I386: Self = Self(3);
    const X86_64: Self = Self(62);
    const AARCH64: Self = Self(183);

    /// How many of a file's first bytes tell the machine.
    pub(crate) const HEAD: usize = 20;

    /// From the first bytes of a file; none when it is no ELF file.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        let (start, rest) = head.split_at_checked(18)?;
        let pair: [u8; 2] = rest.get(..2)?.try_into().ok()?;
        match start {
            [0x7f, b'E', b'L', b'F', 1 | 2, 1, ..] => Some(Self(u16::from_le_bytes(pair))),
            [0x7f, b'E', b'L', b'F', 1 | 2, 2, ..] => Some(Self(u16::from_be_bytes(pair))),
            _ => None,
        }
    }

    /// The architecture's name if a host of that architecture runs such programs.
    pub(crate) fn runs_on(self, host: &str) -> Option<&'static str> {
        match (self, host) {
            (Self::X86_64, "x86_64") => Some("x86_64"),
            (Self::I386, "x86_64" | "x86") => Some("i386"),
            (Self::AARCH64, "aarch64") => Some("aarch64"),
            _ => None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no known processor",
            3 => "i386",
            8 => "mips",
            20 => "ppc",
            21 => "ppc64",
            22 => "s390x",
            40 => "arm",
            62 => "x86_64",
            183 => "aarch64",
            243 => "riscv",
            258 => "loongarch",
            other => return write!(f, "processor {other}"),
        })
    }
}

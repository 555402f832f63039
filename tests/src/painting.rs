//! The picture that the image's `paint` makes of a number: what a client must see.

/// A picture of 24-bit pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Three bytes a pixel.
    pub rgb: Vec<u8>,
}

const COLUMNS: usize = 8;
const ROWS: usize = 6;

/// What `paint SEED` shows on a screen of this size (`images/test/README.md`).
pub fn painting(seed: u64, width: usize, height: usize) -> Picture {
    let mut rgb = Vec::with_capacity(width * height * 3);
    // The cell of a pixel is the last one whose edge is not beyond it.
    let cell = |at: usize, size: usize, cells: usize| {
        (0..cells).rev().find(|cell| size * cell / cells <= at).unwrap_or(0)
    };
    for y in 0..height {
        let row = cell(y, height, ROWS);
        for x in 0..width {
            let column = cell(x, width, COLUMNS);
            let colour = splitmix64(seed.wrapping_add((row * COLUMNS + column) as u64));
            let [.., r, g, b] = colour.to_be_bytes();
            rgb.extend([r, g, b]);
        }
    }
    Picture { width, height, rgb }
}

fn splitmix64(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// How many pixels differ; all of them when the sizes do.
pub fn differing(a: &Picture, b: &Picture) -> usize {
    if (a.width, a.height) != (b.width, b.height) {
        return a.width * a.height;
    }
    a.rgb.chunks(3).zip(b.rgb.chunks(3)).filter(|(a, b)| a != b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cell_is_as_documented() {
        let picture = painting(1, 80, 60);
        assert_eq!(picture.rgb[..3], [0x02, 0x5C, 0xC1]);
        assert_eq!(differing(&picture, &painting(2, 80, 60)), 80 * 60);
    }
}

//! CRC-32C (Castagnoli), the checksum of a record batch: the processor's instruction where there is one (`std`), a table
//! without.

/// Continues the checksum `crc` of some bytes with `bytes`. Starts with 0.
#[cfg(feature = "std")]
#[inline]
pub(crate) fn append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// Continues the checksum `crc` of some bytes with `bytes`. Starts with 0.
#[cfg(not(feature = "std"))]
#[inline]
pub(crate) fn append(crc: u32, bytes: &[u8]) -> u32 {
    table::append(crc, bytes)
}

#[cfg(any(test, not(feature = "std")))]
mod table {
    /// The polynomial 0x1EDC6F41 with its bits reversed.
    const POLYNOMIAL: u32 = 0x82F6_3B78;

    const fn tables() -> [[u32; 256]; 4] {
        let mut tables = [[0; 256]; 4];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
                bit += 1;
            }
            tables[0][byte] = crc;
            byte += 1;
        }
        let mut byte = 0;
        while byte < 256 {
            let mut level = 1;
            while level < 4 {
                let before = tables[level - 1][byte];
                tables[level][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
                level += 1;
            }
            byte += 1;
        }
        tables
    }

    /// Four tables, so that four bytes are taken at a time: 4 KiB of constants.
    static TABLES: [[u32; 256]; 4] = tables();

    pub(super) fn append(crc: u32, bytes: &[u8]) -> u32 {
        let mut crc = !crc;
        let mut words = bytes.chunks_exact(4);
        for word in &mut words {
            let value = crc ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            crc = TABLES[3][(value & 0xff) as usize]
                ^ TABLES[2][(value >> 8 & 0xff) as usize]
                ^ TABLES[1][(value >> 16 & 0xff) as usize]
                ^ TABLES[0][(value >> 24) as usize];
        }
        for byte in words.remainder() {
            crc = (crc >> 8) ^ TABLES[0][((crc ^ u32::from(*byte)) & 0xff) as usize];
        }
        !crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_check_value_of_the_polynomial() {
        assert_eq!(append(0, b"123456789"), 0xE306_9283);
        assert_eq!(table::append(0, b"123456789"), 0xE306_9283);
    }

    #[test]
    fn table_and_instruction_agree_at_every_length_and_cut() {
        let bytes: Vec<u8> = (0..600u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for length in 0..bytes.len() {
            let whole = append(0, &bytes[..length]);
            assert_eq!(table::append(0, &bytes[..length]), whole);
            let cut = length / 3;
            assert_eq!(append(append(0, &bytes[..cut]), &bytes[cut..length]), whole);
            assert_eq!(table::append(table::append(0, &bytes[..cut]), &bytes[cut..length]), whole);
        }
    }
}

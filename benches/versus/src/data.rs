//! Values that compress as real ones do: events of a shop, in JSON.

use std::fmt::Write;
use std::path::Path;

const DIFFERENT: usize = 20_000;

/// The same file each time.
pub fn write(path: &Path) -> std::io::Result<()> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut text = String::new();
    let kinds =
        ["order_created", "order_paid", "item_added", "item_removed", "page_viewed", "search", "login", "logout"];
    let agents =
        ["Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5)", "okhttp/4.12.0", "curl/8.5.0"];
    let countries = ["DE", "FR", "US", "GB", "PL", "JP", "BR", "IN", "CA", "AU", "NL", "ES"];
    for n in 0..DIFFERENT as u64 {
        let kind = kinds[random.below(8) as usize];
        let agent = agents[random.below(4) as usize];
        let country = countries[random.below(12) as usize];
        let (high, low) = (random.next(), random.next());
        let (customer, session, price) = (random.below(100_000), random.next(), random.below(50_000));
        let (item, quantity, took) = (random.below(5_000), 1 + random.below(4), random.below(900));
        let time = 1_700_000_000_000 + n * 37 + random.below(37);
        let _ = writeln!(
            text,
            "{{\"event_id\":\"{high:016x}{low:016x}\",\"type\":\"{kind}\",\"timestamp\":{time},\"customer\":{{\"id\":{customer},\
             \"country\":\"{country}\",\"session\":\"{session:016x}\"}},\"item\":{{\"sku\":\"SKU-{item:05}\",\"quantity\":{quantity},\
             \"price_cents\":{price},\"currency\":\"EUR\"}},\"client\":{{\"user_agent\":\"{agent}\",\"ip\":\"10.{}.{}.{}\"}},\
             \"took_ms\":{took},\"version\":3}}",
            random.below(256),
            random.below(256),
            random.below(256),
        );
    }
    std::fs::write(path, text)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

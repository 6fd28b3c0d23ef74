//! Repeats the session where there is a standard library.

static SESSION: &[u8] = include_bytes!(env!("MILENA_SESSION"));

fn main() {
    let steps = milena_trace::repeat(SESSION, &mut |line| println!("{line}"));
    println!("{steps} steps");
}

fn secured(file: &str) -> Result<milena::threads::Producer, Box<dyn std::error::Error>> {
    use milena::{Config, parse_properties, threads::Producer};
    let properties = parse_properties(&std::fs::read_to_string(file)?)?; // as for the Java client
    Ok(Producer::new(Config::from_properties(properties)?)?)
}

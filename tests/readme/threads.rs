fn produce(servers: &str) -> Result<(), Box<dyn std::error::Error>> {
    use milena::{Config, Record, threads::Producer};
    let producer = Producer::new(Config::new(servers)?)?;
    let delivered = producer.send(&Record::new("orders").key("customer-7").value("3 apples"))?; // waits
    println!("partition {}, offset {:?}", delivered.partition, delivered.offset);
    let ack = producer.enqueue(&Record::new("orders").value("2 pears"))?; // goes on
    ack.wait()?;
    producer.close(std::time::Duration::from_secs(10))?;
    Ok(())
}

fn main() {
    if let Err(error) = produce("localhost:9092") {
        eprintln!("{error}"); // says what to do; `main() -> Result` would show `{error:?}`, which does not
        std::process::exit(1);
    }
}

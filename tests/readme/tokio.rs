async fn produce(servers: &str) -> Result<(), Box<dyn std::error::Error>> {
    use milena::{Config, Record, tokio::Producer};
    let producer = Producer::spawn(Config::new(servers)?)?;
    let delivered = producer.send(&Record::new("orders").key("customer-7").value("3 apples")).await?;
    println!("partition {}, offset {:?}", delivered.partition, delivered.offset);
    let ack = producer.enqueue(&Record::new("orders").value("2 pears")).await?;
    ack.await?;
    producer.close(std::time::Duration::from_secs(10)).await?;
    Ok(())
}

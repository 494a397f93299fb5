use super::*;

#[tokio::test]
async fn an_address_in_use_is_named_with_a_remedy() {
    let first = listen(&Held::default(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let fault = listen(&Held::default(), first.address).err().unwrap().to_string();
    assert!(fault.contains(&first.address.to_string()), "{fault}");
    assert!(fault.contains("stop it"), "{fault}");
}

#[tokio::test]
async fn both_transports_get_the_same_port() {
    let listening = listen(&Held::default(), "127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(listening.udp.local_addr().unwrap(), listening.address);
}

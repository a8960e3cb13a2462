//! Instruction sets by name: what is listed can be typed, and what this processor lacks is refused.

use kernels::{Isa, KernelError};

#[test]
fn parse_of_every_available_name_gives_that_instruction_set() {
    let available = Isa::available();
    assert_eq!(available.first(), Some(&Isa::best()));
    assert_eq!(available.last(), Some(&Isa::scalar()));
    for isa in available {
        assert_eq!(isa.to_string().parse(), Ok(isa));
    }
}

#[test]
fn parse_of_a_listed_name_succeeds_where_the_processor_executes_it() {
    let available: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
    for name in Isa::names() {
        match name.parse::<Isa>() {
            Ok(isa) => assert!(available.contains(&isa.to_string())),
            Err(error) => {
                assert!(!available.iter().any(|known| known == name));
                assert!(matches!(error, KernelError::IsaUnavailable { .. }));
            }
        }
    }
}

#[test]
fn parse_of_an_unknown_name_says_which_there_are() {
    let error = "mmx".parse::<Isa>().expect_err("no such instruction set");
    let text = error.to_string();
    assert!(text.contains("mmx"), "{text}");
    for name in Isa::names() {
        assert!(text.contains(name), "{text}");
    }
}

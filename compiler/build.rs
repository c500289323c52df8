//! Generates the types of ONNX model files from `proto/onnx.proto`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/onnx.proto");
    let schema = protox::compile(["proto/onnx.proto"], ["proto"])?;
    prost_build::Config::new()
        // Byte fields share the buffer that a model is decoded from, so that weights are not copied.
        .bytes(["."])
        // The schema's comments are not written for rustdoc.
        .disable_comments(["."])
        .compile_fds(schema)?;
    Ok(())
}

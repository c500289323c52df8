//! The reader: any bytes are a model or an error, and so is every tensor of the model.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qwenc::onnx::Model;

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::from_bytes("fuzz.onnx", data.to_vec().into()) else { return };
    let _ = (model.inputs(), model.outputs());
    for tensor in &model.graph().initializer {
        if let Ok(read) = model.tensor(tensor) {
            // What is read is as long as its shape says.
            assert_eq!(read.dtype().bytes_for(read.len()), Some(read.bytes().len()));
        }
    }
});

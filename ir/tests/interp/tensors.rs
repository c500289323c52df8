use bytes::Bytes;
use qwenc_ir::interp::{Data, HostError, HostTensor};
use qwenc_ir::{DType, Tensor};

use crate::util::{b, f, i};

#[test]
fn every_type_survives_the_round_trip() {
    for dtype in DType::ALL {
        // 0 and 1 are in every type; an odd count leaves half a byte open in the 4-bit ones.
        let count = 5;
        let host = match dtype {
            DType::Bool => b(&[count], &[true, false, true, true, false]),
            _ if dtype.is_float() => f(&[count], &[0.0, 1.0, -1.5, 0.25, 3.0]),
            _ => HostTensor::new(vec![count], Data::Int(dtype, vec![0, 1, 7, -8, -1])).unwrap(),
        };
        let stored = host.to_tensor(dtype).unwrap();
        assert_eq!(stored.dtype(), dtype);
        assert_eq!(HostTensor::from_tensor(&stored).unwrap(), host, "{dtype}");
    }
    let unsigned = HostTensor::new(vec![2], Data::Int(DType::U4, vec![-1, 17])).unwrap();
    assert_eq!(unsigned.as_int().unwrap(), [15, 1], "values wrap to the width");
}

#[test]
fn halves_are_rounded_when_stored() {
    let stored = f(&[1], &[1.0 + 1.0 / 4096.0]).to_tensor(DType::F16).unwrap();
    assert_eq!(HostTensor::from_tensor(&stored).unwrap(), f(&[1], &[1.0]));
}

#[test]
fn misfits_are_errors() {
    assert!(matches!(HostTensor::f32([2, 2], [0.0; 3]), Err(HostError::Length { .. })));
    assert!(matches!(HostTensor::f32([usize::MAX, 2], []), Err(HostError::Length { .. })));
    let wrong = HostTensor::new(vec![0], Data::Int(DType::F32, vec![]));
    assert_eq!(wrong, Err(HostError::NotInteger(DType::F32)));
    assert!(matches!(i(&[1], &[1]).to_tensor(DType::I32), Err(HostError::Kind { .. })));
    assert!(matches!(f(&[1], &[1.0]).to_tensor(DType::I64), Err(HostError::Kind { .. })));
    let huge = Tensor::new(DType::F32, vec![1 << 40, 0], Bytes::new()).unwrap();
    assert!(HostTensor::from_tensor(&huge).unwrap().is_empty());
}

#[test]
fn difference_counts_nan_and_infinity() {
    let odd = f(&[3], &[f32::NAN, f32::INFINITY, 1.0]);
    assert_eq!(odd.max_abs_diff(&odd), Some(0.0));
    assert_eq!(odd.max_abs_diff(&f(&[3], &[0.0, f32::INFINITY, 1.0])), Some(f32::INFINITY));
    assert_eq!(odd.max_abs_diff(&f(&[3], &[f32::NAN, f32::INFINITY, 1.5])), Some(0.5));
    assert_eq!(odd.max_abs_diff(&f(&[1, 3], &[0.0; 3])), None);
}

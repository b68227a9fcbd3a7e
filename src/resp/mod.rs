//! RESP2 and RESP3: the decoder and the encoder.

// The npm package `haversack`: a Redis-compatible server inside a page, worker or process.

export { EngineStoppedError } from "./engine.js";
export { open, Haversack, type ExportProgress, type Fsync, type ImportProgress, type OpenOptions, type Status } from "./haversack.js";
export { Connection } from "./connection.js";
export { DatabaseInUseError } from "./owner.js";
export { Push, ReplyError, binaryReplies, textReplies, type Reply } from "./reply.js";
export { Decoder, ProtocolError, encodeCommand, type Aggregate, type Argument, type Scalar, type Shape } from "./resp.js";
export type { CallOptions } from "./client.js";

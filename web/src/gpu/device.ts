/** The adapter and its device: features, limits, and what becomes of it. */
import { TreadleError } from "../errors.js";

export interface Device {
  readonly gpu: GPUDevice;
  /** Resolves when the device is lost; never rejects. */
  readonly lost: Promise<TreadleError>;
  /** A CPU that plays a GPU: much slower than the CPU tier. */
  readonly software: boolean;
  readonly name: string;
}

/** What of the adapter's own limits is asked for: a model needs large buffers and bindings. */
const RAISED = [
  "maxBufferSize", "maxStorageBufferBindingSize", "maxComputeWorkgroupStorageSize",
] as const; // prettier-ignore

/** Tiers of WebGPU and the features that each needs. */
export const GPU_TIERS = {
  t2: ["shader-f16", "subgroups"],
  t0s: ["subgroups"],
  t1: ["shader-f16"],
  t0: [],
} as const satisfies Record<string, readonly string[]>;
export type GpuTier = keyof typeof GPU_TIERS;

/**
 * A device of the default adapter, or of `gpu`, for a tier, with as large buffers as it has.
 * Throws `no_device` saying what is missing.
 */
export async function openDevice(
  gpu: GPU | undefined = globalThis.navigator?.gpu,
  tier: GpuTier = "t0",
): Promise<Device> {
  const features = GPU_TIERS[tier] as readonly GPUFeatureName[];
  if (!gpu) throw missing("this browser has no WebGPU");
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw missing("WebGPU has no adapter here");
  const absent = features.find((name) => !adapter.features.has(name));
  if (absent) throw missing(`the adapter lacks ${absent}`);
  const requiredLimits: Record<string, number> = {};
  for (const name of RAISED) requiredLimits[name] = adapter.limits[name];
  const device = await adapter.requestDevice({ requiredFeatures: [...features], requiredLimits });
  const lost = device.lost.then(
    ({ reason, message }) =>
      new TreadleError("device_lost", message || "the GPU is gone", { at: reason || "device" }),
  );
  const { vendor, architecture, description } = adapter.info;
  const name = description || [vendor, architecture].filter(Boolean).join(" ");
  const software = adapter.info.isFallbackAdapter || /swiftshader|llvmpipe|basic render/i.test(name);
  return { gpu: device, lost, software, name };
}

function missing(text: string): TreadleError {
  return new TreadleError("no_device", text, { hint: 'use tier "wasm", which needs no GPU' });
}

/** Runs `make` and turns the device's own out-of-memory report into `out_of_memory`. */
export async function allocating<T>(gpu: GPUDevice, make: () => T | Promise<T>): Promise<T> {
  gpu.pushErrorScope("out-of-memory");
  let made: T;
  try {
    made = await make();
  } catch (error) {
    void gpu.popErrorScope();
    throw error;
  }
  const full = await gpu.popErrorScope();
  if (full) {
    const hint = "use a shorter context or a smaller model";
    throw new TreadleError("out_of_memory", full.message || "the GPU has no memory left", { hint });
  }
  return made;
}

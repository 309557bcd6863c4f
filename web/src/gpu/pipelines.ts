/** Compiled kernels and the bind groups of each list: all made once, none while tokens are made. */
import { TreadleError } from "../errors.js";
import type { Expression } from "../expr.js";
import { LISTS, type KernelPlan, type ListName, type Plan } from "../plan.js";
import type { Buffers } from "./memory.js";

export interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: readonly [Expression, Expression, Expression];
}

export type Lists = Readonly<Record<ListName, readonly Dispatch[]>>;

/** Compiles every kernel, in parallel. Throws `shader_failed` with the compiler's words. */
export async function compile(
  gpu: GPUDevice,
  plan: Plan,
  progress: (loaded: number, total: number) => void = () => {},
): Promise<Map<string, GPUComputePipeline>> {
  let done = 0;
  const made = [...plan.kernels].map(async ([name, kernel]) => {
    const pipeline = await one(gpu, name, kernel);
    progress((done += 1), plan.kernels.size);
    return [name, pipeline] as const;
  });
  return new Map(await Promise.all(made));
}

async function one(gpu: GPUDevice, name: string, kernel: KernelPlan): Promise<GPUComputePipeline> {
  const module = gpu.createShaderModule({ label: name, code: kernel.text });
  const bindings = kernel.access.map((access, binding) =>
    layoutOf(binding, access === "write" ? "storage" : "read-only-storage"),
  );
  if (kernel.uniform) bindings.push(layoutOf(bindings.length, "uniform"));
  const group = gpu.createBindGroupLayout({ entries: bindings });
  const layout = gpu.createPipelineLayout({ bindGroupLayouts: [group] });
  try {
    return await gpu.createComputePipelineAsync({ label: name, layout, compute: { module, entryPoint: "main" } });
  } catch (cause) {
    const { messages } = await module.getCompilationInfo();
    const first = messages.find((message) => message.type === "error");
    const text = first ? `line ${first.lineNum}: ${first.message}` : String(cause);
    throw new TreadleError("shader_failed", text, { at: `kernel ${name}`, hint: "use another tier", cause });
  }
}

function layoutOf(binding: number, type: GPUBufferBindingType): GPUBindGroupLayoutEntry {
  return { binding, visibility: 4 /* GPUShaderStage.COMPUTE */, buffer: { type } };
}

/** Every step of every list with its bind group. `run`: the block of run-time sizes. */
export function bind(
  gpu: GPUDevice,
  plan: Plan,
  pipelines: ReadonlyMap<string, GPUComputePipeline>,
  buffers: Buffers,
  run: GPUBuffer,
): Lists {
  const lists = {} as Record<ListName, readonly Dispatch[]>;
  for (const name of LISTS) {
    lists[name] = plan.lists[name].map((step) => {
      const pipeline = pipelines.get(step.kernel)!;
      const held = step.bind.map((buffer) => buffers.get(buffer)!);
      if (plan.kernels.get(step.kernel)!.uniform) held.push(run);
      const entries = held.map((buffer, binding) => ({ binding, resource: { buffer } }));
      const group = gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
      return { pipeline, group, grid: step.grid };
    });
  }
  return lists;
}

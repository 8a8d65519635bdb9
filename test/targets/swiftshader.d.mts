/** Makes this process find SwiftShader when Dawn asks for a Vulkan driver. Call it before `webgpu` is imported. */
export function useSwiftShader(): void;

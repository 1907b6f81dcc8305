/** shim */
export {};

/** keeper */
export {};

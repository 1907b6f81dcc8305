/** worker */
export {};

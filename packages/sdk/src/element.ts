/** The web component `<couplet-connect>`. */
export {};

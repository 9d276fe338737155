// The page's modules, for the linter; that every name exists is for tsc to say.
import js from "@eslint/js";

export default [
  { ignores: ["**/runtime/**"] },
  js.configs.recommended,
  {
    rules: {
      "no-undef": "off",
      eqeqeq: "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-shadow": "error",
    },
  },
];

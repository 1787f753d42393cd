"""Others' test suites, run through pgmux: what they need comes from outside, see each test."""

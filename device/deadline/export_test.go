package deadline

// MaxCalls lets the tests tell the calls a device is given from those that wait.
const MaxCalls = maxCalls

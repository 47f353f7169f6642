-- Health of a WebhookSubscription: it follows Ready, Reconciling and Stalled. Whether deliveries
-- succeed is the receiver's health, so Delivering adds to the message and changes no status.
local function condition(kind)
  if obj.status == nil or obj.status.conditions == nil then
    return nil
  end
  for _, c in ipairs(obj.status.conditions) do
    if c.type == kind then
      return c
    end
  end
  return nil
end

local function isTrue(c)
  return c ~= nil and c.status == "True"
end

local function text(c)
  if c.message ~= nil and c.message ~= "" then
    return c.reason .. ": " .. c.message
  end
  return c.reason
end

local ready = condition("Ready")
local reconciling = condition("Reconciling")
local stalled = condition("Stalled")
local paused = condition("Paused")
local delivering = condition("Delivering")

if obj.metadata.deletionTimestamp ~= nil then
  if isTrue(stalled) then
    return { status = "Degraded", message = text(stalled) }
  end
  if isTrue(reconciling) then
    return { status = "Progressing", message = "Deleting: " .. text(reconciling) }
  end
  return { status = "Progressing", message = "Deleting" }
end

if isTrue(paused) then
  return { status = "Suspended", message = text(paused) }
end

if ready == nil then
  return { status = "Progressing", message = "Waiting for Hookline to observe this resource" }
end

if obj.status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for Hookline to observe the latest change" }
end

if isTrue(stalled) then
  return { status = "Degraded", message = text(stalled) }
end

if isTrue(reconciling) then
  return { status = "Progressing", message = text(reconciling) }
end

if isTrue(ready) then
  if delivering ~= nil and delivering.status == "False" then
    return { status = "Healthy", message = "Not delivering: " .. text(delivering) }
  end
  return { status = "Healthy", message = text(ready) }
end

return { status = "Degraded", message = text(ready) }

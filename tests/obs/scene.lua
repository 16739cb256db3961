-- Counts frames on the screen, and stops the stream when it has lasted for as long as is set.
local obs = obslua
local frames = 0
local seconds = 5

local function stop()
    obs.timer_remove(stop)
    obs.obs_frontend_streaming_stop()
end

local function on_event(event)
    if event == obs.OBS_FRONTEND_EVENT_STREAMING_STARTED then
        obs.timer_add(stop, seconds * 1000)
    end
end

function script_load(settings)
    obs.obs_frontend_add_event_callback(on_event)
end

function script_tick(_)
    frames = frames + 1
    local clock = obs.obs_get_source_by_name("Clock")
    if clock == nil then return end
    local settings = obs.obs_data_create()
    obs.obs_data_set_string(settings, "text", string.format("rtmp2serversrc  %05d", frames))
    obs.obs_source_update(clock, settings)
    obs.obs_data_release(settings)
    obs.obs_source_release(clock)
end
